use super::support::on_every_backend;
use super::{bound, pair};
use reveille::net::{RecvBatch, UdpSocket};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;

/// Receives so many datagrams by batches.
async fn receive(socket: &UdpSocket, batch: &mut RecvBatch, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < count {
        let received = socket.recv_many(batch).await.unwrap();
        assert!((1..=batch.capacity()).contains(&received));
        assert_eq!((received, batch.is_empty()), (batch.len(), false));
        assert_eq!(batch.iter().len(), received);
        all.extend(batch.iter().map(|datagram| datagram.data().to_vec()));
    }
    all
}

#[test]
fn batches_keep_the_order() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let ((here, here_addr), (there, addr)) = (bound().await, bound().await);
            let list: Vec<(Vec<u8>, SocketAddr)> = (0..100u8)
                .map(|number| (vec![number; usize::from(number % 5)], addr))
                .collect();
            let mut sent = 0;
            while sent < list.len() {
                let now = here.send_many(&list[sent..]).await.unwrap();
                assert!((1..=RecvBatch::MAX_PER_CALL).contains(&now));
                sent += now;
            }
            let mut batch = RecvBatch::new(32, 16);
            let all = receive(&there, &mut batch, list.len()).await;
            assert!(all.iter().eq(list.iter().map(|(data, _)| data)));
            assert!(batch.iter().all(|datagram| datagram.addr() == here_addr));
            assert_eq!(batch.get(batch.len()), None);
        });
    });
}

#[test]
fn batch_marks_truncated_datagrams() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let data = [&b"four"[..], b"", b"fives", b"three"];
            assert_eq!(here.send_many(data).await.unwrap(), 4);
            let mut batch = RecvBatch::new(4, 4);
            let mut found = Vec::new();
            while found.len() < 4 {
                there.recv_many(&mut batch).await.unwrap();
                let all = batch.iter();
                found.extend(all.map(|one| (one.data().to_vec(), one.is_truncated())));
            }
            let expected = [
                (b"four".to_vec(), false),
                (Vec::new(), false),
                (b"five".to_vec(), true),
                (b"thre".to_vec(), true),
            ];
            assert_eq!(found, expected);
        });
    });
}

/// A batch that is not full ends without another system call, and the next one must still notice
/// what comes later.
#[test]
fn batch_waits_again_after_a_short_one() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let echo = reveille::spawn(async move {
                let mut batch = RecvBatch::new(8, 16);
                let mut left = 200;
                while left > 0 {
                    let received = there.recv_many(&mut batch).await.unwrap();
                    let mut sent = 0;
                    while sent < received {
                        sent += there.send_many(batch.iter().skip(sent)).await.unwrap();
                    }
                    left -= received;
                }
            });
            let mut buf = [0; 16];
            for round in 0..100u8 {
                here.send_many([&[round][..], &[round, 1]]).await.unwrap();
                assert_eq!(here.recv(&mut buf).await.unwrap(), 1);
                assert_eq!(here.recv(&mut buf).await.unwrap(), 2);
                assert_eq!(buf[..2], [round, 1]);
            }
            echo.await.unwrap();
        });
    });
}

#[test]
fn batch_ends_before_a_datagram_that_fails() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let list = [b"one".to_vec(), vec![0; 70_000], b"two".to_vec()];
            assert_eq!(here.send_many(&list).await.unwrap(), 1);
            let error = here.send_many(&list[1..]).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            assert_eq!(here.send_many(&list[2..]).await.unwrap(), 1);
            let none: [&[u8]; 0] = [];
            assert_eq!(here.send_many(none).await.unwrap(), 0);
            let mut batch = RecvBatch::new(8, 16);
            let all = receive(&there, &mut batch, 2).await;
            assert_eq!(all, [&b"one"[..], b"two"]);
        });
    });
}

/// The datagram of a receive that was dropped is there for the next one.
#[test]
fn batch_is_cancel_safe() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (here, there) = pair().await;
            let mut batch = RecvBatch::new(8, 16);
            for _ in 0..20 {
                {
                    let mut waiting = std::pin::pin!(there.recv_many(&mut batch));
                    assert!(super::support::poll_once(&mut waiting).await.is_pending());
                    here.send(b"x").await.unwrap();
                }
                assert!(batch.is_empty());
                assert_eq!(there.recv_many(&mut batch).await.unwrap(), 1);
            }
            let nothing = there.try_recv_many(&mut batch).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        });
    });
}

/// Each datagram takes a unit of the budget, so a task that receives batches lets others run.
#[test]
fn batch_counts_for_the_budget_by_datagrams() {
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let ((here, _), (there, addr)) = (bound().await, bound().await);
            let (turns, seen) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            // From the first batch on, no receive has to wait.
            let list = vec![(b"x", addr); 50];
            let (task_turns, task_seen) = (turns.clone(), seen.clone());
            let task = reveille::spawn(async move {
                let mut batch = RecvBatch::new(50, 16);
                let mut first = None;
                for _ in 0..20 {
                    let mut sent = 0;
                    while sent < list.len() {
                        sent += here.try_send_many(&list[sent..]).unwrap();
                    }
                    let mut left = list.len();
                    while left > 0 {
                        super::support::arrived(&there);
                        left -= there.recv_many(&mut batch).await.unwrap();
                    }
                    first.get_or_insert(task_turns.get());
                }
                task_seen.set(task_turns.get() - first.unwrap());
            });
            while !task.is_finished() {
                turns.set(turns.get() + 1);
                reveille::yield_now().await;
            }
            // 950 datagrams, at most 128 of them in a poll.
            assert!(seen.get() >= 6, "{} polls of another task", seen.get());
        });
    });
}

#[test]
#[should_panic(expected = "at least one buffer")]
fn batch_without_buffers_is_refused() {
    RecvBatch::new(0, 16);
}
