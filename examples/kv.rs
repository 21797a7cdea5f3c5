//! A key-value server that speaks enough of Redis's protocol for `redis-cli` and `redis-benchmark`.
//!
//! ```text
//! cargo run --release --example kv
//! redis-cli -p 7781 set greeting hello ex 10
//! redis-benchmark -p 7781 -t ping,set,get,incr -P 16
//! ```
//!
//! Each connection is a task. It reads whatever has arrived, runs all complete commands in it, and
//! writes their replies by one call. So a client that sends many commands at once (pipelining)
//! costs few system calls.
//!
//! All tasks run on one thread, and the keys are in a map that they share by an `Rc`. A key with an
//! expiry has a task of its own that sleeps and then removes the key. Whatever replaces or removes
//! the key before drops the task's handle, and that ends the task.
//!
//! The number of clients has a limit: more of them wait until others have left. The map has none.
//! A server for others than friends would count its bytes.

mod support;

use reveille::net::{TcpListener, TcpStream};
use reveille::task::AbortOnDropHandle;
use reveille::time::{Duration, Instant, now, sleep};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::rc::Rc;

/// The longest value or other argument of a command, in bytes.
const MAX_ARGUMENT: usize = 1024 * 1024;

/// The most arguments that a command may have.
const MAX_ARGUMENTS: usize = 1024;

/// The longest command, in bytes.
const MAX_COMMAND: usize = 4 * 1024 * 1024;

/// The longest line: a command written as a line, or the length of what follows.
const MAX_LINE: usize = 16 * 1024;

/// How many bytes of replies are collected before they are written.
const MAX_REPLIES: usize = 64 * 1024;

const USAGE: &str = "\
usage: kv [--addr ADDR:PORT] [--max-clients N]

  --addr ADDR:PORT   where to listen (default 127.0.0.1:7781)
  --max-clients N    how many clients are served at a time (default 1000)
  --help             print this text

Commands: PING, ECHO, GET, SET [EX seconds | PX milliseconds], DEL, EXISTS, INCR, EXPIRE, TTL,
DBSIZE, QUIT; CONFIG and COMMAND answer what clients ask at their start.";

fn main() -> ExitCode {
    let mut arguments = support::Arguments::new(USAGE);
    let addr: Option<String> = arguments.take("--addr");
    let max_clients: Option<NonZeroUsize> = arguments.take("--max-clients");
    arguments.finish();
    support::report(run(
        addr.as_deref().unwrap_or("127.0.0.1:7781"),
        max_clients.map_or(1000, NonZeroUsize::get),
    ))
}

fn run(addr: &str, max_clients: usize) -> io::Result<()> {
    reveille::block_on(async {
        let listener = TcpListener::bind(addr).await?;
        println!("listening on {}", listener.local_addr()?);
        let listener = listener.limit(max_clients);
        let store = Rc::new(Store::default());
        loop {
            match listener.accept().await {
                Ok((stream, _addr, permit)) => {
                    let store = store.clone();
                    reveille::spawn(async move {
                        // A client that resets its connection ends its task, without a word.
                        serve(stream, store).await.ok();
                        drop(permit);
                    });
                }
                Err(error) => {
                    eprintln!("kv: accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// Runs the commands of one client until it closes its side, quits, or breaks the protocol.
async fn serve(stream: TcpStream, store: Rc<Store>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut replies) = (Vec::new(), Vec::new());
    loop {
        input.reserve(4096);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut used = 0;
        loop {
            match parse(&input[used..]) {
                Ok(Some((command, length))) => {
                    used += length;
                    if !store.run(&command, &mut replies) {
                        return stream.write_all(&replies).await;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    // What follows cannot be read as commands any more.
                    replies.extend(format!("-ERR Protocol error: {error}\r\n").bytes());
                    return stream.write_all(&replies).await;
                }
            }
            // A short command can have a long reply, so replies do not wait for the last command.
            if replies.len() >= MAX_REPLIES {
                stream.write_all(&replies).await?;
                replies.clear();
            }
        }
        input.drain(..used);
        // A client that does not read its replies is not read from either.
        stream.write_all(&replies).await?;
        replies.clear();
    }
}

// --- the protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/ -----------------

type Command<'a> = Vec<&'a [u8]>;

/// Parses the first command of `input`. Returns it with its length in bytes, or `None` if it is not
/// complete.
///
/// A command is an array of strings, `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, or a line of words.
fn parse(input: &[u8]) -> Result<Option<(Command<'_>, usize)>, String> {
    if input.first() != Some(&b'*') {
        return Ok(
            line(input, "too big inline request")?.map(|(line, length)| {
                let words = line.split(u8::is_ascii_whitespace);
                (words.filter(|word| !word.is_empty()).collect(), length)
            }),
        );
    }
    let Some((count, mut at)) = line(&input[1..], "too big mbulk count string")? else {
        return Ok(None);
    };
    at += 1;
    // An array of -1 elements is no array at all. It is ignored like an empty one.
    let count = number(count)
        .and_then(|count| usize::try_from(count.max(0)).ok())
        .filter(|count| *count <= MAX_ARGUMENTS)
        .ok_or("invalid multibulk length")?;
    let mut command = Vec::with_capacity(count);
    while command.len() < count {
        match input.get(at) {
            None => return Ok(None),
            Some(b'$') => at += 1,
            Some(other) => return Err(format!("expected '$', got '{}'", other.escape_ascii())),
        }
        let Some((length, skip)) = line(&input[at..], "too big bulk count string")? else {
            return Ok(None);
        };
        at += skip;
        let length = number(length)
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= MAX_ARGUMENT && at + *length <= MAX_COMMAND)
            .ok_or("invalid bulk length")?;
        // Two bytes for the end of the line.
        if input.len() < at + length + 2 {
            return Ok(None);
        }
        command.push(&input[at..at + length]);
        at += length + 2;
    }
    Ok(Some((command, at)))
}

/// Returns the first line without its end, and its length with it.
fn line<'a>(input: &'a [u8], too_long: &str) -> Result<Option<(&'a [u8], usize)>, String> {
    let window = &input[..input.len().min(MAX_LINE)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &window[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
        }
        None if window.len() == MAX_LINE => Err(too_long.to_owned()),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn put_status(replies: &mut Vec<u8>, text: &str) {
    replies.extend(format!("+{text}\r\n").bytes());
}

fn put_error(replies: &mut Vec<u8>, text: &str) {
    replies.extend(format!("-ERR {text}\r\n").bytes());
}

fn put_number(replies: &mut Vec<u8>, number: i64) {
    replies.extend(format!(":{number}\r\n").bytes());
}

fn put_text(replies: &mut Vec<u8>, text: &[u8]) {
    replies.extend(format!("${}\r\n", text.len()).bytes());
    replies.extend_from_slice(text);
    replies.extend_from_slice(b"\r\n");
}

// --- the keys ------------------------------------------------------------------------------------

#[derive(Default)]
struct Store {
    entries: RefCell<HashMap<Vec<u8>, Entry>>,
}

struct Entry {
    value: Vec<u8>,
    expiry: Option<Expiry>,
}

struct Expiry {
    deadline: Instant,
    /// Removes the key at the deadline.
    _task: AbortOnDropHandle<()>,
}

const NOT_A_NUMBER: &str = "value is not an integer or out of range";

impl Store {
    /// Runs a command and appends its reply. Returns false if the connection is to be closed.
    fn run(self: &Rc<Store>, command: &[&[u8]], replies: &mut Vec<u8>) -> bool {
        let Some((name, arguments)) = command.split_first() else {
            return true;
        };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"PING", []) => put_status(replies, "PONG"),
            (b"PING" | b"ECHO", [text]) => put_text(replies, text),
            (b"GET", [key]) => self.get(key, replies),
            (b"SET", [key, value]) => self.set(key, value, None, replies),
            (b"SET", [key, value, option, time]) => match option.to_ascii_uppercase().as_slice() {
                b"EX" => self.set(key, value, Some((time, 1000)), replies),
                b"PX" => self.set(key, value, Some((time, 1)), replies),
                _ => put_error(replies, "syntax error"),
            },
            (b"SET", [_, _, ..]) => put_error(replies, "syntax error"),
            (b"DEL", [_, ..]) => {
                let mut entries = self.entries.borrow_mut();
                let removed = arguments
                    .iter()
                    .filter(|key| entries.remove(**key).is_some());
                put_number(replies, removed.count() as i64);
            }
            (b"EXISTS", [_, ..]) => {
                let entries = self.entries.borrow();
                let found = arguments.iter().filter(|key| entries.contains_key(**key));
                put_number(replies, found.count() as i64);
            }
            (b"INCR", [key]) => self.increment(key, replies),
            (b"EXPIRE", [key, seconds]) => self.expire(key, seconds, replies),
            (b"TTL", [key]) => self.time_to_live(key, replies),
            (b"DBSIZE", []) => put_number(replies, self.entries.borrow().len() as i64),
            // What redis-cli and redis-benchmark ask at their start.
            (b"COMMAND", _) => replies.extend_from_slice(b"*0\r\n"),
            (b"CONFIG", [get, name]) if get.eq_ignore_ascii_case(b"GET") => {
                replies.extend_from_slice(b"*2\r\n");
                put_text(replies, name);
                put_text(replies, b"");
            }
            (b"QUIT", _) => {
                put_status(replies, "OK");
                return false;
            }
            (
                b"PING" | b"ECHO" | b"GET" | b"SET" | b"DEL" | b"EXISTS" | b"INCR" | b"EXPIRE"
                | b"TTL" | b"DBSIZE" | b"CONFIG",
                _,
            ) => {
                let name = String::from_utf8_lossy(name).to_lowercase();
                let error = format!("wrong number of arguments for '{name}' command");
                put_error(replies, &error);
            }
            // The reply is one line of moderate length, whatever the client has sent.
            _ => {
                let name = name[..name.len().min(64)].escape_ascii();
                put_error(replies, &format!("unknown command '{name}'"));
            }
        }
        true
    }

    fn get(&self, key: &[u8], replies: &mut Vec<u8>) {
        match self.entries.borrow().get(key) {
            Some(entry) => put_text(replies, &entry.value),
            None => replies.extend_from_slice(b"$-1\r\n"),
        }
    }

    /// Sets a key. `time` is a text and the milliseconds of its unit.
    fn set(
        self: &Rc<Store>,
        key: &[u8],
        value: &[u8],
        time: Option<(&[u8], u64)>,
        replies: &mut Vec<u8>,
    ) {
        let mut expiry = None;
        if let Some((time, unit)) = time {
            let Some(time) = number(time) else {
                return put_error(replies, NOT_A_NUMBER);
            };
            let time = u64::try_from(time).ok().filter(|time| *time > 0);
            let Some(time) = time.and_then(|time| time.checked_mul(unit)) else {
                return put_error(replies, "invalid expire time in 'set' command");
            };
            expiry = Some(self.expire_after(key, Duration::from_millis(time)));
        }
        let value = value.to_vec();
        // Drops an older entry, and with it the task that would have removed it.
        let mut entries = self.entries.borrow_mut();
        entries.insert(key.to_vec(), Entry { value, expiry });
        put_status(replies, "OK");
    }

    fn increment(&self, key: &[u8], replies: &mut Vec<u8>) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.entry(key.to_vec()).or_insert_with(|| Entry {
            value: b"0".to_vec(),
            expiry: None,
        });
        match number(&entry.value).and_then(|number| number.checked_add(1)) {
            Some(number) => {
                entry.value = number.to_string().into_bytes();
                put_number(replies, number);
            }
            None => put_error(replies, NOT_A_NUMBER),
        }
    }

    fn expire(self: &Rc<Store>, key: &[u8], seconds: &[u8], replies: &mut Vec<u8>) {
        let Some(seconds) = number(seconds) else {
            return put_error(replies, NOT_A_NUMBER);
        };
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(key) else {
            return put_number(replies, 0);
        };
        match u64::try_from(seconds) {
            Ok(seconds @ 1..) => {
                entry.expiry = Some(self.expire_after(key, Duration::from_secs(seconds)));
            }
            // That time has passed.
            _ => drop(entries.remove(key)),
        }
        put_number(replies, 1);
    }

    /// Starts the task that removes a key.
    fn expire_after(self: &Rc<Store>, key: &[u8], time: Duration) -> Expiry {
        let (store, key, sleep) = (self.clone(), key.to_vec(), sleep(time));
        let deadline = sleep.deadline();
        let task = reveille::spawn(async move {
            sleep.await;
            store.entries.borrow_mut().remove(&key);
        });
        Expiry {
            deadline,
            _task: task.abort_on_drop(),
        }
    }

    /// Replies the seconds a key has left, -1 if it has no expiry, -2 if there is no such key.
    fn time_to_live(&self, key: &[u8], replies: &mut Vec<u8>) {
        let left = match self.entries.borrow().get(key) {
            None => -2,
            Some(Entry { expiry: None, .. }) => -1,
            Some(Entry {
                expiry: Some(expiry),
                ..
            }) => {
                let left = expiry.deadline.saturating_duration_since(now());
                // To the nearest second, as Redis does.
                ((left.as_millis() + 500) / 1000) as i64
            }
        };
        put_number(replies, left);
    }
}
