//! Types that can be used after a panic has unwound through them: they are `UnwindSafe` and
//! `RefUnwindSafe`.

use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};

fn both<T: UnwindSafe + RefUnwindSafe>() {}

#[test]
fn handles_and_runtimes_are_unwind_safe() {
    both::<reveille::Runtime>();
    both::<reveille::Handle>();
    both::<reveille::JoinHandle<std::cell::Cell<u8>>>();
    both::<reveille::task::AbortHandle>();
    both::<reveille::task::AbortOnDropHandle<std::cell::Cell<u8>>>();
    both::<reveille::task::Id>();
    both::<reveille::task::Scope<'static>>();
    both::<reveille::task::TryScope<'static, std::cell::Cell<u8>>>();
    both::<reveille::task::ScopedJoinHandle<std::cell::Cell<u8>>>();
    both::<reveille::net::TcpListener>();
    both::<reveille::net::TcpStream>();
    both::<reveille::net::pipe::Receiver>();
    both::<reveille::net::pipe::Sender>();
    both::<reveille::net::UdpSocket>();
    both::<reveille::net::UnixListener>();
    both::<reveille::net::UnixStream>();
    both::<reveille::net::RecvBatch>();
    both::<reveille::net::UnixDatagram>();
    both::<reveille::net::OwnedReadHalf>();
    both::<reveille::net::OwnedWriteHalf>();
    both::<reveille::io::AsyncFd<std::os::fd::OwnedFd>>();
    both::<reveille::time::Sleep>();
    both::<reveille::time::Interval>();
    both::<reveille::time::Timeout<std::future::Ready<()>>>();
}

#[test]
fn runtime_is_usable_after_a_panic() {
    let runtime = reveille::Runtime::new().unwrap();
    let task = runtime.spawn(async { 5 });
    let out = catch_unwind(|| runtime.block_on(async { resume_unwind(Box::new("quiet")) }));
    assert!(out.is_err());
    let out = catch_unwind(AssertUnwindSafe(|| runtime.block_on(task)));
    assert_eq!(out.unwrap().unwrap(), 5);
}
