//! WebSockets of tokio-tungstenite on streams.

#[path = "../../support/mod.rs"]
mod support;

use futures::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use reveille::interop::HyperTokioIo;
use std::convert::Infallible;
use support::{on_every_backend, pair};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// Sends each message back, until the client closes the connection.
async fn echo(mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) {
    // It goes on after the close message: the next read sends the answer to it.
    while let Some(message) = socket.next().await {
        let message = message.unwrap();
        if !message.is_close() {
            socket.send(message).await.unwrap();
        }
    }
}

/// Sends messages to a server that sends them back, and closes the connection.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut socket, _response) = client_async("ws://localhost/", stream).await.unwrap();
    for len in [0, 1, 125, 126, 65_536, 1_000_000] {
        let message = Message::text("x".repeat(len));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(message.unwrap().is_close());
    }
}

#[test]
fn websocket_echoes_messages_and_closes() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = reveille::spawn(async { echo(accept_async(server).await.unwrap()).await });
            exchange(client).await;
            server.await.unwrap();
        });
    });
}

/// Answers a request by an upgrade to a WebSocket, which a task of its own serves.
async fn upgrade(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let key = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
    reveille::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let stream = HyperTokioIo::new(upgraded);
        echo(WebSocketStream::from_raw_socket(stream, Role::Server, None).await).await;
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, key);
    Ok(response.body(Empty::new()).unwrap())
}

#[test]
fn websocket_runs_on_an_upgraded_connection_of_hyper() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let connection = http1::Builder::new().serve_connection(server, service_fn(upgrade));
            let server = reveille::spawn(connection.with_upgrades());
            exchange(client).await;
            server.await.unwrap().unwrap();
        });
    });
}
