//! A WebSocket in a handler of axum. axum's own (its feature `ws`) spawns by tokio, so this one
//! upgrades the request by hyper and passes the connection to tokio-tungstenite.

use crate::routes::{App, Counted};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use reveille::interop::HyperTokioIo;
use reveille::time::{Duration, timeout};
use std::future::Future;
use std::pin::pin;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// How long the server waits for the client to close a connection.
const LINGER: Duration = Duration::from_secs(2);

/// Answers a request for a WebSocket, which a task of its own then serves.
pub(crate) async fn upgrade(
    State(app): State<App>,
    mut request: Request,
) -> Result<Response, (StatusCode, String)> {
    // Fails if the request is none for a WebSocket. By HTTP/2 they have another form, which hyper
    // refuses by default.
    let response = create_response_with_body(&request, Body::empty)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let upgrade = hyper::upgrade::on(&mut request);
    let (counted, stopping) = (app.count_open(), app.stop.stopping());
    // The client causes errors here, as in `serving`.
    reveille::spawn(async move { serve(upgrade, counted, stopping).await.ok() });
    Ok(response)
}

async fn serve(
    upgrade: OnUpgrade,
    _counted: Counted,
    stopping: impl Future,
) -> Result<(), Box<dyn std::error::Error>> {
    let stream = HyperTokioIo::new(upgrade.await?);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    echo(socket, stopping).await?;
    Ok(())
}

/// Sends each message back, until the client closes the connection or the server stops.
async fn echo(
    mut socket: WebSocketStream<HyperTokioIo<Upgraded>>,
    stopping: impl Future,
) -> Result<(), Error> {
    let mut stopping = pin!(stopping);
    // The server waits until this is dropped.
    let _guard = loop {
        tokio::select! {
            biased;
            guard = stopping.as_mut() => break guard,
            message = socket.next() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    socket.send(message).await?;
                }
                // Pings and closes are answered by the next read.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    };
    let reason = CloseFrame {
        code: CloseCode::Away,
        reason: "the server ends".into(),
    };
    socket.close(Some(reason)).await?;
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(LINGER, rest).await.ok();
    Ok(())
}
