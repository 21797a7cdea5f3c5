//! An exchange: some tasks send numbered datagrams to one socket, from which others receive.

use super::super::activity::{Activity, Step};
use super::super::harness::{Dice, lock};
use super::super::streams::{World, expect_planned};
use super::super::support::wait;
use super::ledger::{HEADER, LONGEST, Ledger, Role};
use super::socket::{Socket, Target};
use super::sockets::{Kind, Sockets};
use reveille::net::UdpSocket;
use reveille::time::{Duration, sleep, timeout};
use reveille::{JoinHandle, spawn, yield_now};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Context;
use std::thread;

/// After how many looks without an arrival a number is sent again.
const PATIENCE: usize = 5;

/// How an exchange should end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Every number arrives.
    Whole,
    /// After so many arrivals the receiving socket is closed; one of UDP refuses from then on.
    ReceiverGoes(usize),
    /// After so many arrivals the receiving socket is shut down.
    ReceiverShuts(usize),
    /// After so many arrivals the sending sockets are shut down.
    SendersShut(usize),
}

impl Fate {
    fn new(dice: &mut Dice, kind: Kind, numbers: usize) -> Fate {
        let at = dice.below(numbers + 1);
        match dice.below(8) {
            0 | 1 => Fate::ReceiverGoes(at),
            2 if kind == Kind::Pair => Fate::ReceiverShuts(at),
            3 if kind == Kind::Pair => Fate::SendersShut(at),
            _ => Fate::Whole,
        }
    }

    fn at(self) -> Option<usize> {
        match self {
            Fate::Whole => None,
            Fate::ReceiverGoes(at) | Fate::ReceiverShuts(at) | Fate::SendersShut(at) => Some(at),
        }
    }
}

/// What the tasks of an exchange share.
struct Exchange {
    world: Arc<World>,
    ledger: Ledger,
    fate: Fate,
    /// The fate has come, or is coming.
    has_come: AtomicBool,
    /// How many numbers may be on their way.
    window: usize,
    /// The length of the shortest buffer.
    capacity: usize,
    who: String,
}

/// Ends an exchange even if its task is aborted.
struct Ends(Arc<Exchange>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ledger.end_all(Role::Receives);
        self.0.ledger.end_all(Role::Sends);
    }
}

/// A task that receives or sends.
struct Member {
    exchange: Arc<Exchange>,
    role: Role,
    socket: Arc<Socket>,
    target: Target,
    dice: Dice,
    /// The next number to send.
    next: usize,
    activity: Activity,
}

impl Member {
    fn new(
        exchange: &Arc<Exchange>,
        role: Role,
        socket: &Arc<Socket>,
        target: Target,
        next: usize,
    ) -> Member {
        Member {
            activity: Activity::new(format!("{role:?} {next}, {}", exchange.who)),
            exchange: exchange.clone(),
            role,
            socket: socket.clone(),
            target,
            dice: exchange.world.dice(),
            next,
        }
    }

    /// A random event between two calls.
    async fn change(&mut self) {
        let world = &self.exchange.world;
        match self.dice.below(24) {
            0 => lock(&world.victims).push(Box::new(self.socket.clone())),
            1 => {
                let waker = world.new_flag().waker();
                let left = catch_unwind(AssertUnwindSafe(|| {
                    self.socket.leave(&mut Context::from_waker(&waker));
                    drop(waker);
                }));
                if let Err(payload) = left {
                    expect_planned(world, payload);
                }
            }
            2 => yield_now().await,
            3 => sleep(Duration::from_micros(self.dice.below(200) as u64)).await,
            _ => {}
        }
    }

    /// Makes one call. Returns whether to go on.
    async fn step(&mut self, is_here: bool) -> bool {
        let exchange = self.exchange.clone();
        let step = match self.role {
            Role::Receives => Step::Reads,
            Role::Sends => Step::Writes,
        };
        let number = self.socket.fd().as_raw_fd();
        self.activity.set(step, number, self.next);
        let role = self.role;
        let future = async {
            match role {
                Role::Receives => self.receive(is_here).await,
                Role::Sends => self.send(is_here).await,
            }
        };
        match exchange.ledger.until_over(role, future).await {
            None => false,
            Some(Ok(goes_on)) => goes_on,
            Some(Err(error)) => {
                if !exchange.may_fail(role, &error) {
                    exchange.ledger.fault(&format!("{role:?}: {error:?}"));
                }
                false
            }
        }
    }

    async fn receive(&mut self, is_here: bool) -> io::Result<bool> {
        let capacity = match self.dice.one_in(3) {
            true => self.exchange.capacity,
            false => 2000,
        };
        let ledger = &self.exchange.ledger;
        let received = self
            .socket
            .receive(ledger, &mut self.dice, capacity, is_here);
        let Some(received) = received.await else {
            return Ok(true);
        };
        if received? == 0 && matches!(&*self.socket, Socket::Unix(_)) {
            let may_end = matches!(self.exchange.fate, Fate::ReceiverShuts(_));
            if !may_end || !self.exchange.has_come.load(SeqCst) {
                ledger.fault("a receive returns the end");
            }
            return Ok(false);
        }
        Ok(true)
    }

    async fn send(&mut self, is_here: bool) -> io::Result<bool> {
        let ledger = &self.exchange.ledger;
        ledger.until_room(self.exchange.window).await;
        let numbers = ledger.numbers();
        if self.next >= numbers {
            return Ok(false);
        }
        let is_refused = self.exchange.has_come.load(SeqCst);
        let mut all = Vec::new();
        let most = if self.dice.one_in(3) {
            1 + self.dice.below(5)
        } else {
            1
        };
        for number in (self.next..numbers).step_by(ledger.senders).take(most) {
            let most = if self.dice.one_in(2) {
                10
            } else {
                LONGEST - HEADER
            };
            let length = HEADER + self.dice.below(most);
            all.push(ledger.begin(number, length));
        }
        let sent = match self.dice.below(2) {
            0 if matches!(&*self.socket, Socket::Udp(_)) => {
                self.socket
                    .send_many(&self.target, &all, &mut self.dice)
                    .await
            }
            _ => {
                let bytes = &all[0].bytes;
                let sent = self
                    .socket
                    .send(&self.target, bytes, &mut self.dice, is_here)
                    .await;
                sent.map(|sent| sent.map(|sent| usize::from(sent == bytes.len())))
            }
        };
        let Some(sent) = sent else {
            return Ok(true);
        };
        let sent = sent?;
        if !(1..=all.len()).contains(&sent) {
            ledger.fault("a send returns another length");
        }
        all.into_iter().take(sent).for_each(|one| one.done());
        self.next += sent * ledger.senders;
        if is_refused && is_here {
            self.expect_refusal().await;
        }
        Ok(true)
    }

    /// After a datagram to a closed port the connected socket has to return the error.
    async fn expect_refusal(&self) {
        let (Socket::Udp(socket), Target::Peer) = (&*self.socket, &self.target) else {
            return;
        };
        let mut buffer = [0; 100];
        loop {
            // This hides no lost wake: the next poll makes no call unless an event was reported.
            let received = timeout(Duration::from_millis(2), socket.recv(&mut buffer)).await;
            match received {
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return,
                Ok(received) => {
                    let received = format!("{received:?} from a closed port");
                    return self.exchange.ledger.fault(&received);
                }
                Err(_elapsed) => {}
            }
            // Another task may have got the error, and the kernel may have dropped it.
            if !self.socket.has(libc::POLLIN | libc::POLLERR) {
                let _ = socket.try_send(b"");
            }
        }
    }

    /// Makes a few calls on another thread. Returns whether to go on after them.
    async fn elsewhere(mut self) -> (Member, bool) {
        let calls = 1 + self.dice.below(10);
        let world = self.exchange.world.clone();
        let there = async move {
            for _ in 0..calls {
                if !self.step(false).await {
                    return (self, false);
                }
            }
            (self, true)
        };
        on_thread(&world, there).await
    }

    async fn run(mut self) {
        loop {
            self.change().await;
            let goes_on;
            if self.dice.one_in(20) {
                (self, goes_on) = self.elsewhere().await;
            } else {
                goes_on = self.step(true).await;
            }
            if !goes_on {
                return;
            }
        }
    }
}

/// Runs a future on another thread.
async fn on_thread<T: Send + 'static>(
    world: &World,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (sender, back) = mpsc::channel();
    let there = thread::spawn(move || drop(sender.send(wait(future))));
    lock(&world.threads).push(there);
    loop {
        sleep(Duration::from_micros(200)).await;
        match back.try_recv() {
            Ok(output) => return output,
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => panic!("a panic on another thread"),
        }
    }
}

impl Exchange {
    /// Whether a call of this role may fail now.
    fn may_fail(&self, role: Role, error: &io::Error) -> bool {
        let is_known = matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::NotConnected
                | ErrorKind::NotFound
        );
        let has_come = self.has_come.load(SeqCst);
        self.ledger.is_over(role) || (role == Role::Sends && has_come && is_known)
    }

    /// Sends numbers again that the kernel may have dropped.
    fn send_again(&self, sockets: &Sockets) {
        for number in self.ledger.missing().into_iter().take(8) {
            let (socket, target) = &sockets.senders[number % sockets.senders.len()];
            let Socket::Udp(socket) = &**socket else {
                return;
            };
            let again = self.ledger.begin(number, HEADER);
            let sent = match target {
                Target::Ip(to) => socket.try_send_to(&again.bytes, *to),
                _ => socket.try_send(&again.bytes),
            };
            if sent.is_ok() {
                again.done();
            }
        }
    }

    /// Lets the fate come.
    async fn act(&self, sockets: &mut Sockets) {
        self.has_come.store(true, SeqCst);
        match self.fate {
            Fate::Whole => {}
            Fate::ReceiverGoes(_) => {
                self.ledger.end_all(Role::Receives);
                let receiver = sockets.receiver.take();
                if let Some(Socket::Udp(socket)) = receiver.as_deref() {
                    refuse(socket).await;
                    // It keeps its port, which no other program gets then.
                    sockets.receiver = receiver;
                }
            }
            Fate::ReceiverShuts(_) => {
                if let Some(Socket::Unix(socket)) = sockets.receiver.as_deref() {
                    socket.shutdown(Shutdown::Read).unwrap();
                }
            }
            Fate::SendersShut(_) => {
                for (socket, _) in &sockets.senders {
                    if let Socket::Unix(socket) = &**socket {
                        socket.shutdown(Shutdown::Write).unwrap();
                    }
                }
            }
        }
    }

    /// Looks after the exchange until all senders have ended, and every number has arrived unless
    /// something else is its fate.
    async fn watch(&self, sockets: &mut Sockets, sending: &[JoinHandle<()>]) {
        let activity = Activity::new(format!("watches {}", self.who));
        let (mut quiet, mut before) = (0, 0);
        loop {
            sleep(Duration::from_millis(1)).await;
            let arrived = self.ledger.arrived();
            activity.set(Step::Joins, -1, arrived);
            let has_come = self.has_come.load(SeqCst);
            if !has_come && self.fate.at().is_some_and(|at| arrived >= at) {
                self.act(sockets).await;
                continue;
            }
            let is_whole = self.fate == Fate::Whole && arrived == self.ledger.numbers();
            if (has_come || is_whole) && sending.iter().all(JoinHandle::is_finished) {
                return;
            }
            self.world.drop_victims();
            // Nothing is sent again while data waits at the socket: it has to be received.
            let waits = |socket: &Arc<Socket>| socket.has(libc::POLLIN);
            let is_quiet = arrived == before && !sockets.receiver.as_ref().is_some_and(waits);
            before = arrived;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet >= PATIENCE && !has_come {
                self.send_again(sockets);
                quiet = 0;
            }
        }
    }

    /// Checks that no more datagrams were lost than the kernel has dropped.
    async fn check_lost(&self, sockets: &Sockets) {
        let Some(receiver) = &sockets.receiver else {
            return;
        };
        let activity = Activity::new(format!("finds lost ones, {}", self.who));
        loop {
            receiver.drain(&self.ledger);
            let lost = self.ledger.lost();
            if lost <= sockets.dropped() {
                return;
            }
            activity.set(Step::Joins, receiver.fd().as_raw_fd(), lost);
            // The kernel may still have it on its way.
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Makes a socket refuse the datagrams of all others: it is its own peer then.
async fn refuse(socket: &UdpSocket) {
    let own = socket.local_addr().unwrap();
    socket.connect(own).await.unwrap();
}

/// One exchange from its beginning to its end.
pub(super) async fn hold(world: Arc<World>) {
    let mut dice = world.dice();
    let kind = [Kind::Udp, Kind::Udp, Kind::Pair, Kind::Path][dice.below(4)];
    let numbers = 1 + dice.below(60);
    let fate = Fate::new(&mut dice, kind, numbers);
    let window = [1, 1, 4, usize::MAX][dice.below(4)];
    let mut sockets = Sockets::new(kind, &mut dice, window == usize::MAX).await;
    let senders = sockets.senders.len() * (1 + dice.below(2));
    let receivers = 1 + dice.below(3);
    let is_ordered = kind != Kind::Udp && receivers == 1;
    let who = format!("{kind:?} {numbers} window {window} {senders} to {receivers}, {fate:?}");
    let id = dice.next();
    let exchange = Arc::new(Exchange {
        world: world.clone(),
        ledger: Ledger::new(&world, id, who.clone(), numbers, senders, is_ordered),
        fate,
        has_come: AtomicBool::new(false),
        window,
        capacity: HEADER + dice.below(LONGEST),
        who,
    });
    let ends = Ends(exchange.clone());
    let receiver = sockets.receiver.clone().expect("it is there at first");
    let receive = |_| {
        let member = Member::new(&exchange, Role::Receives, &receiver, Target::Peer, 0);
        spawn(member.run())
    };
    let receiving: Vec<_> = (0..receivers).map(receive).collect();
    drop(receiver);
    let send = |number: usize| {
        let (socket, target) = &sockets.senders[number % sockets.senders.len()];
        let member = Member::new(&exchange, Role::Sends, socket, target.clone(), number);
        spawn(member.run())
    };
    let sending: Vec<_> = (0..senders).map(send).collect();
    exchange.watch(&mut sockets, &sending).await;
    drop(ends);
    for member in sending.into_iter().chain(receiving) {
        if let Err(error) = member.await {
            exchange.ledger.fault(&format!("a task: {error}"));
        }
    }
    if fate == Fate::Whole {
        exchange.check_lost(&sockets).await;
    }
}
