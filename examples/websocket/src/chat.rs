//! One WebSocket, from its first message to its close.
//!
//! The first message is the client's name; each later one is a line for the room. One future reads,
//! one writes from the queue, and `select` polls both, so messages of a client that does not
//! read still arrive.
//!
//! | the client | what it gets |
//! |---|---|
//! | closes | the answer to its close, as the protocol says |
//! | sends nothing for twice the time between pings, not even a pong | 1001, if it still reads |
//! | does not read, so that its queue overflows | the end of the connection |
//! | sends a message that is too long, no text, or breaks the protocol | 1009, 1003 or 1007, 1002 |
//! | sends too many messages | its messages are read later |
//! | is there when the server ends | what is in its queue, then 1001 |

use crate::Server;
use crate::room::{Client, Room};
use async_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use async_tungstenite::{WebSocketReceiver, WebSocketSender, WebSocketStream};
use futures::future::{Either, select};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use hyper::upgrade::Upgraded;
use reveille::interop::HyperIo;
use reveille::time::{Duration, Instant, interval_at, now, sleep_until, timeout};
use reveille::yield_now;
use std::pin::pin;

/// The longest message, in bytes.
const MESSAGE: usize = 4096;

/// The longest name, in characters.
const NAME: usize = 20;

/// How long a client may take to say its name.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take to read what is left, and to close its connection.
const FAREWELL: Duration = Duration::from_secs(3);

/// A client may send one message in this time, and [`BURST`] of them at once: less than a queue
/// holds, so that no client alone makes those of the others overflow.
const PACE: Duration = Duration::from_millis(50);
const BURST: u32 = 10;

type Stream = HyperIo<Upgraded>;
type Receiver = WebSocketReceiver<Stream>;
type Sender = WebSocketSender<Stream>;

/// Why a client has left.
enum End {
    /// The client has closed the connection, or the connection is broken.
    Left,
    Silent,
    Slow,
    Stopped,
    Fault(CloseCode, &'static str),
}

/// Serves a client until its connection ends.
pub(crate) async fn serve(stream: Upgraded, server: &Server) {
    let config = WebSocketConfig::default()
        .read_buffer_size(MESSAGE)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE));
    let stream = HyperIo::new(stream);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut sender, mut receiver) = socket.split();
    let end = match name(&mut receiver, server).await {
        Ok(name) => {
            let client = server.room.enter(&name);
            let end = {
                let read = pin!(listen(&mut receiver, &client, server));
                let written = pin!(deliver(&mut sender, &client, server));
                select(read, written).await.factor_first().0
            };
            server.room.leave(&client, end.text());
            end
        }
        Err(end) => end,
    };
    // It fails if the client has gone away.
    timeout(FAREWELL, close(sender, receiver, end)).await.ok();
}

impl End {
    /// What the others read.
    fn text(&self) -> &'static str {
        match self {
            End::Left => "has left",
            End::Stopped => "has left, because the server ends",
            End::Silent => "was disconnected: it was silent",
            End::Slow => "was disconnected: it was too slow",
            End::Fault(..) => "was disconnected: it broke the rules",
        }
    }

    /// What the client receives as the last message.
    fn frame(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            End::Left | End::Slow => return None,
            End::Stopped => (CloseCode::Away, "the server ends"),
            End::Silent => (CloseCode::Away, "no pong"),
            End::Fault(code, reason) => (*code, *reason),
        };
        let reason = reason.into();
        Some(CloseFrame { code, reason })
    }
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                End::Fault(CloseCode::Size, "the message is too long")
            }
            Error::Utf8(_) => End::Fault(CloseCode::Invalid, "the text is not UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Left,
            Error::Protocol(_) => End::Fault(CloseCode::Protocol, "this is no WebSocket"),
            _ => End::Left,
        }
    }
}

/// Reads the name of the client: its first message.
async fn name(receiver: &mut Receiver, server: &Server) -> Result<String, End> {
    let text = async {
        loop {
            if let Some(text) = next(receiver).await? {
                return Ok(text);
            }
        }
    };
    let stopped = server.stopped.clone();
    let text = match select(pin!(timeout(PATIENCE, text)), stopped).await {
        Either::Left((text, _)) => text.unwrap_or(Err(End::Silent))?,
        Either::Right(_) => return Err(End::Stopped),
    };
    let is_allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    // Without spaces, a name cannot look like a message of the server.
    if text.is_empty() || text.chars().count() > NAME || !text.chars().all(is_allowed) {
        let rule = "a name has 1 to 20 letters or digits";
        return Err(End::Fault(CloseCode::Policy, rule));
    }
    Ok(text.to_string())
}

/// Reads one message. Returns `None` for one that is not for the room.
async fn next(receiver: &mut Receiver) -> Result<Option<Utf8Bytes>, End> {
    match receiver.next().await {
        None => Err(End::Left),
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Binary(_))) => {
            Err(End::Fault(CloseCode::Unsupported, "only text, please"))
        }
        // Pings are answered, and a close too, by the call that reads the next message.
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(error.into()),
    }
}

/// Reads lines and sends them to the room.
async fn listen(receiver: &mut Receiver, client: &Client, server: &Server) -> End {
    let mut pace = Pace::new();
    loop {
        match timeout(2 * server.ping, next(receiver)).await {
            Err(_elapsed) => return End::Silent,
            Ok(Err(end)) => return end,
            Ok(Ok(text)) => {
                if let Some(text) = text {
                    say(&server.room, client, &text);
                }
            }
        }
        // Pings count as well.
        pace.wait().await;
        // So that the others can send this message before the next one comes.
        yield_now().await;
    }
}

/// Sends a line to all clients, its author included, so that all see the same.
fn say(room: &Room, client: &Client, text: &str) {
    // A line break could make a second line that looks like one of another client.
    let text = text.replace(char::is_control, " ");
    room.tell(format!("{}: {text}", client.name));
}

/// Sends the messages in the client's queue, and pings.
async fn deliver(sender: &mut Sender, client: &Client, server: &Server) -> End {
    let mut pings = interval_at(now() + server.ping, server.ping);
    let mut stopped = server.stopped.clone();
    loop {
        let message = {
            let tick = pin!(pings.tick());
            let other = select(tick, &mut stopped);
            // The queue comes first: it is empty when `other` is polled.
            match select(pin!(client.queue.next()), other).await {
                Either::Left((Some(text), _)) => Message::Text(text),
                Either::Left((None, _)) => return End::Slow,
                Either::Right((Either::Left(_), _)) => Message::Ping(Default::default()),
                Either::Right((Either::Right(_), _)) => return End::Stopped,
            }
        };
        match select(pin!(sender.send(message)), pin!(client.queue.overflow())).await {
            Either::Left((Ok(()), _)) => {}
            Either::Left((Err(error), _)) => return error.into(),
            Either::Right(_) => return End::Slow,
        }
    }
}

/// Closes a connection so that the client gets the last message.
async fn close(mut sender: Sender, mut receiver: Receiver, end: End) -> Result<(), Error> {
    if let Some(frame) = end.frame() {
        sender.close(Some(frame)).await?;
        // Until the client has answered. After a fault this ends at once.
        while let Some(Ok(_)) = receiver.next().await {}
    }
    if matches!(end, End::Slow) {
        return Ok(());
    }
    // If a socket with unread bytes were closed, the client would get a reset, and could lose what
    // it has not read.
    let Ok(socket) = WebSocketStream::reunite(sender, receiver) else {
        return Ok(());
    };
    let mut stream = socket.into_inner();
    stream.close().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? != 0 {}
    Ok(())
}

/// Makes a client that sends too much wait.
struct Pace {
    /// When the messages so far would have come, if each had taken [`PACE`].
    due: Instant,
}

impl Pace {
    fn new() -> Pace {
        Pace { due: now() }
    }

    /// Counts a message, and waits until it may have come.
    async fn wait(&mut self) {
        self.due = self.due.max(now()) + PACE;
        let allowance = PACE * BURST;
        if self.due > now() + allowance {
            sleep_until(self.due - allowance).await;
        }
    }
}
