//! The trace of a program.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

/// The lines of a trace. Clones append to the same one.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, line: impl ToString) {
        self.0.borrow_mut().push(line.to_string());
    }

    /// Returns a value that notes its drop.
    pub(crate) fn on_drop(&self, name: &'static str) -> OnDrop {
        OnDrop(self.clone(), name)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.take()
    }
}

pub(crate) struct OnDrop(Log, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.note(format!("drop of {}", self.1));
    }
}

/// A program, started.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A program and its name.
pub(crate) type Program = (&'static str, fn(Log) -> Running);

/// The name of a program and the lines of its trace.
pub(crate) type Trace = (&'static str, Vec<String>);
