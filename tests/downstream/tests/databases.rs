//! The clients `redis` and `tokio-postgres`. `.ci/databases.sh` starts the servers and sets
//! `REVEILLE_REDIS` and `REVEILLE_POSTGRES`, the paths of their Unix sockets. Without them the
//! tests are skipped.

#[path = "../../support/mod.rs"]
mod support;

use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use reveille::net::UnixStream;
use reveille::time::{Duration, sleep};
use support::on_every_backend;
use tokio_postgres::{AsyncMessage, Config, NoTls};

/// The value of a variable. Says that the test is skipped if it is not set.
fn server(variable: &str) -> Option<String> {
    let server = std::env::var(variable).ok();
    if server.is_none() {
        println!("skipped: {variable} is not set");
    }
    server
}

async fn connect_redis(path: &str) -> MultiplexedConnection {
    let stream = UnixStream::connect(path).await.unwrap();
    // The crate's own time limit is a timer of tokio.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let info = RedisConnectionInfo::default();
    let connecting = MultiplexedConnection::new_with_config(&info, stream, config);
    let (connection, driver) = connecting.await.unwrap();
    reveille::spawn(driver);
    connection
}

#[test]
fn redis_runs_commands_of_many_tasks() {
    let Some(path) = server("REVEILLE_REDIS") else {
        return;
    };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let mut connection = connect_redis(&path).await;
            let cleared: String = redis::cmd("FLUSHALL")
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!(cleared, "OK");
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let mut connection = connection.clone();
                    reveille::spawn(async move {
                        for _ in 0..20 {
                            let mut add = redis::cmd("INCR");
                            add.arg("count");
                            let _: u64 = add.query_async(&mut connection).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let long = "x".repeat(1_000_000);
            let (count, _, got): (u64, String, String) = redis::pipe()
                .cmd("GET")
                .arg("count")
                .cmd("SET")
                .arg("long")
                .arg(&long)
                .cmd("GET")
                .arg("long")
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!(count, 1000);
            assert!(got == long);
            let mut wrong = redis::cmd("LPUSH");
            let error = wrong
                .arg("long")
                .arg(1)
                .query_async::<u64>(&mut connection)
                .await;
            assert_eq!(error.unwrap_err().code(), Some("WRONGTYPE"));
        });
    });
}

/// A client and the task of its connection.
async fn connect_postgres(
    path: &str,
) -> (
    tokio_postgres::Client,
    reveille::task::JoinHandle<Vec<String>>,
) {
    let stream = UnixStream::connect(path).await.unwrap();
    let mut config = Config::new();
    config.user("postgres").dbname("postgres");
    let (client, mut connection) = config.connect_raw(stream, NoTls).await.unwrap();
    // A connection is a future. Polled by its messages, it also returns what `NOTIFY` sends.
    let task = reveille::spawn(async move {
        let mut notes = Vec::new();
        let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(note) = message.unwrap() {
                notes.push(note.payload().to_owned());
            }
        }
        notes
    });
    (client, task)
}

#[test]
fn postgres_runs_queries_at_once() {
    let Some(path) = server("REVEILLE_POSTGRES") else {
        return;
    };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (mut client, task) = connect_postgres(&path).await;
            let sums = (0..20_i64).map(|number| {
                let client = &client;
                async move {
                    let sum = "SELECT sum(n)::int8 FROM generate_series(0, $1::int8) AS n";
                    client
                        .query_one(sum, &[&number])
                        .await
                        .unwrap()
                        .get::<_, i64>(0)
                }
            });
            let sums = futures::future::join_all(sums).await;
            assert!(sums.into_iter().eq((0..20).map(|n| n * (n + 1) / 2)));

            client
                .batch_execute("CREATE TEMP TABLE words (word text)")
                .await
                .unwrap();
            let transaction = client.transaction().await.unwrap();
            let long = "x".repeat(1_000_000);
            let insert = "INSERT INTO words VALUES ($1)";
            transaction.execute(insert, &[&long]).await.unwrap();
            transaction.commit().await.unwrap();
            let transaction = client.transaction().await.unwrap();
            transaction.execute(insert, &[&"undone"]).await.unwrap();
            drop(transaction);
            let rows = client.query("SELECT word FROM words", &[]).await.unwrap();
            assert_eq!(rows.len(), 1);
            assert!(rows[0].get::<_, &str>(0) == long);

            client
                .batch_execute("LISTEN news; NOTIFY news, 'hello'")
                .await
                .unwrap();
            let error = client.batch_execute("SELECT nothing").await.unwrap_err();
            assert!(error.code().is_some(), "{error}");
            drop(client);
            assert_eq!(task.await.unwrap(), ["hello"]);
        });
    });
}

#[test]
fn postgres_cancels_a_query() {
    let Some(path) = server("REVEILLE_POSTGRES") else {
        return;
    };
    on_every_backend(|runtime| {
        runtime.block_on(async {
            let (client, task) = connect_postgres(&path).await;
            let cancel = client.cancel_token();
            let query = reveille::spawn(async move {
                let query = client.batch_execute("SELECT pg_sleep(3600)").await;
                query.unwrap_err()
            });
            // A request that comes before the query has begun does nothing.
            while !query.is_finished() {
                let stream = UnixStream::connect(&path).await.unwrap();
                cancel.cancel_query_raw(stream, NoTls).await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
            let error = query.await.unwrap();
            assert_eq!(error.code().unwrap().code(), "57014", "query_canceled");
            task.await.unwrap();
        });
    });
}
