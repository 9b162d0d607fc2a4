//! From the tree to the caller's types, for YAML and JSON alike.

use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use crate::error::DocumentErrorKind as Kind;
use crate::failure::{Failure, found_name};
use crate::scalar::{self, Scalar};
use crate::text::{At, shown};
use crate::tree::{Data, Key, Node};

/// The name by which [`crate::Located`] asks for its place.
pub(crate) const LOCATED: &str = "$lictor_document::Located";

/// Deserialises one value; consumes it, so that text moves instead of being copied.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    node: Node<'a>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(node: Node<'a>) -> Self {
        Self { node }
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let at = self.node.at;
        match self.node.data {
            Data::Null => visitor.visit_unit(),
            Data::Bool(value) => visitor.visit_bool(value),
            Data::Int(value) => visitor.visit_i64(value),
            Data::Float(value) => visitor.visit_f64(value),
            Data::Text(text) => visit_text(text, visitor),
            Data::Plain(text) => match scalar::resolve(&text, at)? {
                Scalar::Null => visitor.visit_unit(),
                Scalar::Bool(value) => visitor.visit_bool(value),
                Scalar::Int(value) => visitor.visit_i64(value),
                Scalar::Float(value) => visitor.visit_f64(value),
                Scalar::Text => visit_text(text, visitor),
            },
            Data::List(items) => {
                let n_items = items.len();
                let mut items = Items { items: items.into_iter() };
                let value = visitor.visit_seq(&mut items)?;
                if items.items.len() > 0 {
                    let message = format!(
                        "found {n_items} items; accepted here: {}",
                        n_items - items.items.len()
                    );
                    return Err(Failure::new(Kind::InvalidValue, message));
                }
                Ok(value)
            }
            Data::Map(entries) => {
                let mut entries = Entries { entries: entries.into_iter(), value: None };
                let value = visitor.visit_map(&mut entries)?;
                if let Some((key, _)) = entries.entries.next() {
                    let message =
                        format!("unknown key {}; accepted here: no further key", shown(&key.text));
                    return Err(Failure::new(Kind::UnknownKey, message).or_at(key.at));
                }
                Ok(value)
            }
        }
    }

    fn is_null(&self) -> bool {
        match &self.node.data {
            Data::Null => true,
            Data::Plain(text) => scalar::is_null(text),
            _ => false,
        }
    }

    /// Text where text is asked for: an unquoted scalar is what was written.
    fn text<'de, V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        if let Data::Plain(text) = &mut self.node.data
            && !scalar::is_null(text)
        {
            self.node.data = Data::Text(std::mem::take(text));
        }
        self.any(visitor)
    }

    /// A mapping where fields are asked for; serde would take a list as well.
    fn fields<'de, V: Visitor<'de>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if matches!(self.node.data, Data::List(_)) {
            let known = known.join(", ");
            let message = format!("found a list; accepted here: a mapping with the keys {known}");
            return Err(Failure::new(Kind::InvalidType, message));
        }
        self.any(visitor)
    }

    fn variant<'de, V: Visitor<'de>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let at = self.node.at;
        match self.node.data {
            Data::Text(text) => visitor.visit_enum(Variant { key: Key { at, text }, value: None }),
            Data::Plain(text) if !scalar::is_null(&text) => {
                visitor.visit_enum(Variant { key: Key { at, text }, value: None })
            }
            Data::Map(entries) => {
                let n_entries = entries.len();
                let mut entries = entries.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((key, value)), None) => {
                        visitor.visit_enum(Variant { key, value: Some(value) })
                    }
                    (_, second) => {
                        let message = format!(
                            "found a mapping with {n_entries} keys; accepted here: exactly one of {}",
                            known.join(", ")
                        );
                        let at = second.map_or(at, |(key, _)| key.at);
                        Err(Failure::new(Kind::InvalidValue, message).or_at(at))
                    }
                }
            }
            data => {
                let walker = Walker::new(Node { at, data });
                let message =
                    format!("found {}; accepted here: {}", walker.describe()?, known.join(", "));
                Err(Failure::new(Kind::InvalidType, message))
            }
        }
    }

    /// The value in words, for a message.
    fn describe(&self) -> Result<String, Failure> {
        let found = match &self.node.data {
            Data::Null => Unexpected::Unit,
            Data::Bool(value) => Unexpected::Bool(*value),
            Data::Int(value) => Unexpected::Signed(*value),
            Data::Float(value) => Unexpected::Float(*value),
            Data::Text(text) => Unexpected::Str(text),
            Data::Plain(text) => match scalar::resolve(text, self.node.at)? {
                Scalar::Null => Unexpected::Unit,
                Scalar::Bool(value) => Unexpected::Bool(value),
                Scalar::Int(value) => Unexpected::Signed(value),
                Scalar::Float(value) => Unexpected::Float(value),
                Scalar::Text => Unexpected::Str(text),
            },
            Data::List(_) => Unexpected::Seq,
            Data::Map(_) => Unexpected::Map,
        };
        Ok(found_name(&found))
    }
}

fn visit_text<'de, V: Visitor<'de>>(
    text: std::borrow::Cow<'_, str>,
    visitor: V,
) -> Result<V::Value, Failure> {
    match text {
        std::borrow::Cow::Borrowed(text) => visitor.visit_str(text),
        std::borrow::Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// Forwards methods to one of the ways above, and adds the place to what fails there.
macro_rules! read {
    ($($method:ident => $way:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let at = self.node.at;
            self.$way(visitor).map_err(|failure| failure.or_at(at))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Walker<'_> {
    type Error = Failure;

    read! {
        deserialize_any => any;
        deserialize_bool => any;
        deserialize_i8 => any;
        deserialize_i16 => any;
        deserialize_i32 => any;
        deserialize_i64 => any;
        deserialize_i128 => any;
        deserialize_u8 => any;
        deserialize_u16 => any;
        deserialize_u32 => any;
        deserialize_u64 => any;
        deserialize_u128 => any;
        deserialize_f32 => any;
        deserialize_f64 => any;
        deserialize_char => text;
        deserialize_str => text;
        deserialize_string => text;
        deserialize_identifier => text;
        deserialize_bytes => any;
        deserialize_byte_buf => any;
        deserialize_unit => any;
        deserialize_seq => any;
        deserialize_map => any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let at = self.node.at;
        let value = if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) };
        value.map_err(|failure: Failure| failure.or_at(at))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let at = self.node.at;
        let value = if name == LOCATED {
            visitor.visit_seq(Place::new(at, self))
        } else {
            visitor.visit_newtype_struct(self)
        };
        value.map_err(|failure: Failure| failure.or_at(at))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _n_items: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _n_items: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let at = self.node.at;
        self.fields(fields, visitor).map_err(|failure| failure.or_at(at))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let at = self.node.at;
        self.variant(variants, visitor).map_err(|failure| failure.or_at(at))
    }

    /// What is ignored is read all the same: it must be well formed down to its numbers.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }
}

struct Items<'a> {
    items: std::vec::IntoIter<Node<'a>>,
}

impl<'de> SeqAccess<'de> for &mut Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        let at = node.at;
        let value = seed.deserialize(Walker::new(node));
        value.map(Some).map_err(|failure| failure.or_at(at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    entries: std::vec::IntoIter<(Key<'a>, Node<'a>)>,
    value: Option<Node<'a>>,
}

impl<'de> MapAccess<'de> for &mut Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let at = key.at;
        let key = seed.deserialize(KeyWalker { key });
        key.map(Some).map_err(|failure| failure.or_at(at))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let Some(node) = self.value.take() else {
            return Err(Failure::new(Kind::InvalidType, "a value was read before its key"));
        };
        let at = node.at;
        let value = seed.deserialize(Walker::new(node));
        value.map_err(|failure| failure.or_at(at))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// Deserialises a key: text, a name of an enum, or a wrapper around them.
struct KeyWalker<'a> {
    key: Key<'a>,
}

impl<'de> de::Deserializer<'de> for KeyWalker<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visit_text(self.key.text, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == LOCATED {
            visitor.visit_seq(Place::new(self.key.at, self))
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(Variant { key: self.key, value: None })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Line, column and value, in this order: how a [`crate::Located`] is filled.
struct Place<D> {
    numbers: std::array::IntoIter<u32, 2>,
    inner: Option<D>,
}

impl<D> Place<D> {
    fn new(at: At, inner: D) -> Self {
        Self { numbers: [at.line, at.column].into_iter(), inner: Some(inner) }
    }
}

impl<'de, D: de::Deserializer<'de, Error = Failure>> SeqAccess<'de> for Place<D> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if let Some(number) = self.numbers.next() {
            return seed.deserialize(number.into_deserializer()).map(Some);
        }
        match self.inner.take() {
            Some(inner) => seed.deserialize(inner).map(Some),
            None => Ok(None),
        }
    }
}

/// An enum's name, and what stands behind it.
struct Variant<'a> {
    key: Key<'a>,
    value: Option<Node<'a>>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Failure;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Failure> {
        let content = Content {
            at: self.key.at,
            name: self.key.text.clone().into_owned(),
            value: self.value,
        };
        let name = seed
            .deserialize(KeyWalker { key: self.key })
            .map_err(|failure| failure.or_at(content.at))?;
        Ok((name, content))
    }
}

struct Content<'a> {
    at: At,
    name: String,
    value: Option<Node<'a>>,
}

impl<'a> Content<'a> {
    fn value(self) -> Result<Walker<'a>, Failure> {
        let Some(node) = self.value else {
            let message = format!(
                "found {} alone; accepted here: a mapping with this key and its value",
                shown(&self.name)
            );
            return Err(Failure::new(Kind::InvalidType, message).or_at(self.at));
        };
        Ok(Walker::new(node))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        let Some(node) = self.value else {
            return Ok(());
        };
        if Walker::new(node).is_null() {
            return Ok(());
        }
        let name = shown(&self.name);
        let message = format!("found {name} with a value; accepted here: {name} alone");
        Err(Failure::new(Kind::InvalidType, message).or_at(self.at))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let walker = self.value()?;
        let at = walker.node.at;
        seed.deserialize(walker).map_err(|failure| failure.or_at(at))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _n_items: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_any(self.value()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_struct(self.value()?, "", fields, visitor)
    }
}
