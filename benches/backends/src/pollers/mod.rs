//! The mechanisms that are compared, behind one trait.

mod floor;
mod mio;
mod polling;
mod reveille;

use ::reveille::backend::Trigger;
use std::io;
use std::os::unix::net::UnixStream;

/// One mechanism, as the ring uses it. Keys are places in the ring.
pub trait Poller {
    /// Starts to watch for data.
    fn add(&mut self, key: usize, fd: &UnixStream) -> io::Result<()>;

    fn remove(&mut self, key: usize, fd: &UnixStream) -> io::Result<()>;

    /// One turn that does not block: appends what is ready.
    fn turn(&mut self, ready: &mut Vec<usize>) -> io::Result<()>;

    /// All data of `fd` was read: arms the mechanism again if it has to be.
    fn served(&mut self, key: usize, fd: &UnixStream) -> io::Result<()>;

    /// A byte was written. Only `floor` uses it.
    fn written(&mut self, _key: usize) {}
}

pub const TRIGGERS: [(&str, Trigger); 3] = [
    ("edge", Trigger::Edge),
    ("level", Trigger::Level),
    ("oneshot", Trigger::Oneshot),
];

/// The mechanisms that can be measured on this machine, with their triggers.
pub fn list() -> Vec<(String, Vec<&'static str>)> {
    let all = TRIGGERS.map(|(name, _)| name).to_vec();
    let mut list = vec![("floor".to_string(), vec!["edge"])];
    for kind in reveille::here() {
        list.push((kind.to_string(), all.clone()));
    }
    list.push(("mio".to_string(), vec!["edge"]));
    list.push(("polling".to_string(), all));
    list
}

/// Opens one, with room for `room` events a turn.
pub fn open(name: &str, trigger: Trigger, room: usize) -> Result<Box<dyn Poller>, String> {
    let only_edge = || match trigger {
        Trigger::Edge => Ok(()),
        _ => Err(format!("{name} has edges only")),
    };
    let opened = match name {
        "floor" => only_edge().map(|()| Ok(floor::open()))?,
        "mio" => only_edge().map(|()| mio::open(room))?,
        "polling" => polling::open(trigger, room),
        _ => reveille::open(name, trigger, room),
    };
    opened.map_err(|error| format!("{name}: {error}"))
}
