//! A name server that does not answer stops nothing but the connection that needs it.
//!
//! The system's resolver asks the server in /etc/resolv.conf. So the test runs itself again in a
//! namespace with its own file and its own loopback interface, where it is the name server. It is
//! skipped where `unshare` may not make one.

#![cfg(target_os = "linux")]

mod support;

use reveille::net::{TcpListener, TcpStream, lookup_host};
use reveille::time::{sleep, timeout};
use reveille::{spawn, yield_now};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use support::{on_every_backend, pair};

#[test]
fn a_name_server_that_does_not_answer_stops_nothing() {
    if std::env::var_os("REVEILLE_NAME_SERVER").is_some() {
        return in_the_namespace();
    }
    let folder = std::env::temp_dir().join(format!("name_server.{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let conf = folder.join("resolv.conf");
    // The resolver asks again after 30 seconds, five times.
    std::fs::write(
        &conf,
        "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n",
    )
    .unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"",
        conf.display()
    );
    let run = |probe: bool| {
        let mut command = Command::new("unshare");
        // As root of a new user namespace, if this process is not root.
        command.args(["--mount", "--net", "--map-root-user", "sh", "-c", &script]);
        if probe {
            command.arg("true");
        } else {
            command.arg(std::env::current_exe().unwrap());
            command.args([
                "a_name_server_that_does_not_answer_stops_nothing",
                "--exact",
            ]);
            command.arg("--nocapture").env("REVEILLE_NAME_SERVER", "1");
        }
        command.status().is_ok_and(|status| status.success())
    };
    if run(true) {
        assert!(run(false));
    } else {
        println!("skipped: no namespace of its own");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Makes the loopback interface of this namespace work.
fn raise_loopback() {
    // SAFETY: the socket is closed at the end; the request is a local that the calls read and fill.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &request), 0);
        libc::close(socket);
    }
}

/// Says for each question that it has come, and answers that there is no such name once `answer` is
/// closed.
fn serve_names(socket: UdpSocket, asked: Sender<()>, answer: Receiver<()>) {
    let mut questions = Vec::new();
    let mut packet = [0; 1500];
    socket
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut is_answering = false;
    loop {
        if let Ok((len, peer)) = socket.recv_from(&mut packet) {
            questions.push((packet[..len].to_vec(), peer));
            if asked.send(()).is_err() {
                return;
            }
        }
        is_answering |= answer.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
        if is_answering {
            for (mut question, peer) in questions.drain(..) {
                // An answer, recursion available; NXDOMAIN (RFC 1035, section 4.1.1).
                question[2] |= 0x80;
                question[3] = 0x83;
                let _ = socket.send_to(&question, peer);
            }
        }
    }
}

fn in_the_namespace() {
    raise_loopback();
    on_every_backend(|runtime| {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let (asked, has_asked) = channel();
        let (answer, may_answer) = channel();
        let server = thread::spawn(move || serve_names(socket, asked, may_answer));
        runtime.block_on(async {
            let connecting = spawn(TcpStream::connect("nobody.example.test:80"));
            while has_asked.try_recv().is_err() {
                yield_now().await;
            }
            // The resolver waits. Timers and sockets go on.
            let (near, far) = pair().await;
            for _ in 0..100 {
                sleep(Duration::from_millis(1)).await;
                near.write_all(b"x").await.unwrap();
                far.read_exact(&mut [0]).await.unwrap();
            }
            let limited = timeout(
                Duration::from_millis(1),
                lookup_host("other.example.test:1"),
            );
            assert!(limited.await.is_err(), "the limit of time works");
            let binding = spawn(TcpListener::bind("third.example.test:1"));
            yield_now().await;
            assert!(!connecting.is_finished() && !binding.is_finished());
            drop(answer);
            for error in [
                connecting.await.unwrap().unwrap_err(),
                binding.await.unwrap().unwrap_err(),
            ] {
                assert_ne!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("cannot look up"), "{error}");
            }
        });
        drop(has_asked);
        // One more question ends the server.
        let local = UdpSocket::bind("127.0.0.1:0").unwrap();
        local.send_to(&[0; 12], "127.0.0.1:53").unwrap();
        server.join().unwrap();
    });
}
