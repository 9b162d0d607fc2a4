//! Pages that a server has people open, until it says that they are done with one: whoever was asked to
//! open it hears so, and nobody else. The older protocol has it, on both sides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CustomNotification, ElicitRequestParams, ErrorCode, ErrorData, ServerNotification,
};
use rmcp::service::{Peer, RoleServer};
use serde_json::{Value, json};

/// What a server says when a page was done with.
pub(super) const DONE: &str = "notifications/elicitation/complete";
/// What names the page.
const ID: &str = "elicitationId";
/// A call is not made before a page was opened.
pub(super) const URL_ELICITATION_REQUIRED: ErrorCode = ErrorCode(-32042);
/// So many pages of one server are known at a time; the oldest is given up for another one.
const MAX: usize = 256;
/// A longer name of a page is not kept.
const MAX_ID: usize = 1024;

/// The pages of one connection to a server.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<Book<Peer<RoleServer>>>);

impl Pages {
    /// A client has been asked to open these; what was done with before it was is told now.
    pub(crate) async fn asked(&self, ids: Vec<String>, client: &Peer<RoleServer>) {
        for id in ids {
            let early = self.book().asked(&id, client);
            if early {
                tell(client, &id).await;
            }
        }
    }

    /// The server says of one that it was done with.
    pub(super) async fn done(&self, about: &Value) {
        let Some(id) = about.get(ID).and_then(Value::as_str) else { return };
        let whose = self.book().done(id);
        for client in whose {
            tell(&client, id).await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book<Peer<RoleServer>>> {
        // Every change is one step, so nothing is half done when a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a question has opened.
pub(crate) fn page_of(asks: &ElicitRequestParams) -> Option<String> {
    match asks {
        ElicitRequestParams::UrlElicitationParams { elicitation_id, .. } => {
            Some(elicitation_id.clone())
        }
        _ => None,
    }
}

/// What an error in place of a result wants opened first.
pub(crate) fn pages_of(error: &ErrorData) -> Vec<String> {
    if error.code != URL_ELICITATION_REQUIRED {
        return Vec::new();
    }
    let wanted = error.data.as_ref().and_then(|data| data.get("elicitations"));
    let wanted = wanted.and_then(Value::as_array).into_iter().flatten();
    wanted.filter_map(|one| one.get(ID)?.as_str().map(str::to_owned)).collect()
}

async fn tell(client: &Peer<RoleServer>, id: &str) {
    let done = CustomNotification::new(DONE, Some(json!({ ID: id })));
    let told = client.send_notification(ServerNotification::CustomNotification(done)).await;
    if let Err(error) = told {
        tracing::debug!(%error, "a client did not hear that a page was done with");
    }
}

/// A client, as far as one can be told from another.
trait Connection: Clone {
    fn is(&self, other: &Self) -> bool;
    fn is_gone(&self) -> bool;
}

impl Connection for Peer<RoleServer> {
    fn is(&self, other: &Self) -> bool {
        // What a client says of itself when it begins is kept once for each connection.
        match (self.peer_info(), other.peer_info()) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
            _ => false,
        }
    }

    fn is_gone(&self) -> bool {
        self.is_transport_closed()
    }
}

#[derive(Debug)]
struct Book<C> {
    open: VecDeque<(String, C)>,
    /// Done with, as far as the server is concerned, and not yet asked for here: what a server asks and
    /// what it says right after that may come in either order.
    early: VecDeque<String>,
}

impl<C> Default for Book<C> {
    fn default() -> Self {
        Self { open: VecDeque::new(), early: VecDeque::new() }
    }
}

impl<C: Connection> Book<C> {
    /// Whether it was done with before.
    fn asked(&mut self, id: &str, client: &C) -> bool {
        if let Some(at) = self.early.iter().position(|early| early == id) {
            self.early.remove(at);
            return true;
        }
        self.open.retain(|(known, by)| !(by.is_gone() || known == id && by.is(client)));
        if id.len() <= MAX_ID {
            put(&mut self.open, (id.to_owned(), client.clone()));
        }
        false
    }

    /// Whoever was asked to open it.
    fn done(&mut self, id: &str) -> Vec<C> {
        let mut whose = Vec::new();
        self.open.retain(|(known, client)| {
            let of_it = known == id;
            whose.extend(of_it.then(|| client.clone()));
            !of_it
        });
        if whose.is_empty() && id.len() <= MAX_ID && !self.early.iter().any(|early| early == id) {
            put(&mut self.early, id.to_owned());
        }
        whose
    }
}

fn put<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() >= MAX {
        all.pop_front();
    }
    all.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client by its number; one above ten is gone.
    impl Connection for u8 {
        fn is(&self, other: &Self) -> bool {
            self == other
        }

        fn is_gone(&self) -> bool {
            *self > 10
        }
    }

    #[test]
    fn whoever_was_asked_for_a_page_hears_once_that_it_was_done_with() {
        let mut book = Book::<u8>::default();
        for (id, client) in [("a", 1), ("b", 2), ("a", 3), ("a", 1)] {
            assert!(!book.asked(id, &client), "{id} {client}");
        }
        assert_eq!(book.done("a"), [3, 1]);
        assert_eq!(book.done("a"), [0_u8; 0]);
        assert_eq!(book.done("b"), [2]);
    }

    #[test]
    fn a_page_that_was_done_with_before_it_was_asked_for_is_so_when_it_is() {
        let mut book = Book::<u8>::default();
        assert_eq!(book.done("a"), [0_u8; 0]);
        assert!(book.asked("a", &1));
        assert!(!book.asked("a", &1), "that was the page of before");
        assert_eq!(book.done("a"), [1]);
    }

    #[test]
    fn nothing_grows_with_what_a_server_says() {
        let mut book = Book::<u8>::default();
        let long = "x".repeat(MAX_ID + 1);
        for n in 0..2 * MAX {
            book.done(&format!("early {n}"));
            book.asked(&format!("page {n}"), &1);
        }
        book.done(&long);
        book.asked(&long, &1);
        assert_eq!((book.open.len(), book.early.len()), (MAX, MAX));
        assert_eq!(book.done(&format!("page {}", 2 * MAX - 1)), [1], "the newest are kept");
        book.asked("of somebody who went", &11);
        book.asked("next", &1);
        assert_eq!(book.done("of somebody who went"), [0_u8; 0]);
    }

    #[test]
    fn an_error_names_the_pages_that_it_wants_opened() {
        let data = json!({ "elicitations": [{ "mode": "url", ID: "a" }, { "mode": "form" }] });
        let error = |code| ErrorData::new(ErrorCode(code), "first", Some(data.clone()));
        assert_eq!(pages_of(&error(-32042)), ["a"]);
        assert!(pages_of(&error(-32603)).is_empty());
    }
}
