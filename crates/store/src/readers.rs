//! Connections that read, each lent to one thread at a time.

use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::connection::{Place, open_reader};
use crate::error::ReadError;
use crate::options::{Access, StoreOptions};

#[derive(Debug)]
pub(crate) struct Readers {
    place: Place,
    options: StoreOptions,
    /// `None` once closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Readers {
    pub(crate) fn new(place: Place, options: StoreOptions) -> Self {
        Self { place, options, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Runs `query` on one snapshot of what is committed.
    pub(crate) fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, ReadError<E>> {
        self.options.before(Access::Read).map_err(ReadError::Unavailable)?;
        let connection = self.borrow()?;
        // A panic in `query` unwinds through here and closes the connection: nothing half done
        // comes back into the pool.
        begin(&connection).map_err(ReadError::Unavailable)?;
        let result = query(&connection);
        if connection.is_autocommit() || end(&connection).is_ok() {
            self.give_back(connection);
        }
        result.map_err(ReadError::Query)
    }

    pub(crate) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn borrow<E>(&self) -> Result<Connection, ReadError<E>> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = idle.as_mut().ok_or(ReadError::Closed)?;
            if let Some(connection) = idle.pop() {
                return Ok(connection);
            }
        }
        open_reader(&self.place, &self.options).map_err(ReadError::Unavailable)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = idle.as_mut()
            && idle.len() < self.options.n_idle_readers
        {
            idle.push(connection);
        }
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN")?.execute(()).map(|_| ())
}

fn end(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("ROLLBACK")?.execute(()).map(|_| ())
}
