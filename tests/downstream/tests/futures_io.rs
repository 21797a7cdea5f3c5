//! The combinators of `futures::io` on streams.

#[path = "../../support/mod.rs"]
mod support;

use futures::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use futures::stream::StreamExt;
use support::{Random, on_every_backend, pair};

#[test]
fn copy_echoes_what_two_tasks_send_and_receive() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let echo = reveille::spawn(async move {
                let n = copy(&server, &mut &server).await.unwrap();
                (&server).close().await.unwrap();
                n
            });
            let sent = Random(1).bytes(3_000_000);
            let expected = sent.clone();
            let (mut read, mut write) = client.split();
            let writer = reveille::spawn(async move {
                write.write_all(&sent).await.unwrap();
                write.close().await.unwrap();
            });
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.unwrap();
            assert!(got == expected);
            writer.await.unwrap();
            assert_eq!(echo.await.unwrap(), 3_000_000);
        });
    });
}

#[test]
fn lines_are_read_by_a_buffered_reader() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, server) = pair().await;
            let writer = reveille::spawn(async move {
                let (_read, write) = client.into_split();
                write.write_all(b"one\ntwo\nthree").await.unwrap();
            });
            let lines = BufReader::new(&server).lines();
            let lines: Vec<_> = lines.map(|line| line.unwrap()).collect().await;
            assert_eq!(lines, ["one", "two", "three"]);
            writer.await.unwrap();
        });
    });
}
