//! Codecs of tokio-util on streams.

#[path = "../../support/mod.rs"]
mod support;

use futures::{SinkExt, StreamExt};
use reveille::net::TcpStream;
use support::{on_every_backend, pair};
use tokio_util::codec::{Framed, FramedRead, FramedWrite, LinesCodec};

/// Sends each line back in upper case.
async fn shout(stream: TcpStream) {
    let mut lines = Framed::new(stream, LinesCodec::new());
    while let Some(line) = lines.next().await {
        lines.send(line.unwrap().to_uppercase()).await.unwrap();
    }
}

#[test]
fn framed_stream_transports_lines() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = reveille::spawn(shout(server));
            let mut lines = Framed::new(client, LinesCodec::new());
            for number in 0..1000 {
                let line = format!("line {number} {}", "x".repeat(number));
                lines.send(line.as_str()).await.unwrap();
                let answer = lines.next().await.unwrap().unwrap();
                assert_eq!(answer, line.to_uppercase());
            }
            SinkExt::<String>::close(&mut lines).await.unwrap();
            assert!(lines.next().await.is_none(), "the server has ended too");
            server.await.unwrap();
        });
    });
}

#[test]
fn framed_halves_transport_lines_of_two_tasks() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let server = reveille::spawn(shout(server));
            let (read, write) = client.into_split();
            let writer = reveille::spawn(async move {
                let mut lines = FramedWrite::new(write, LinesCodec::new());
                for number in 0..10_000 {
                    lines.feed(format!("line {number}")).await.unwrap();
                }
                SinkExt::<String>::close(&mut lines).await.unwrap();
            });
            let lines = FramedRead::new(read, LinesCodec::new());
            let lines: Vec<_> = lines.map(|line| line.unwrap()).collect().await;
            assert_eq!(lines.len(), 10_000);
            assert_eq!(lines[9_999], "LINE 9999");
            writer.await.unwrap();
            server.await.unwrap();
        });
    });
}
