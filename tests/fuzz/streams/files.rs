//! A file behind an `Unblock`, compared with a vector. Calls are dropped before they end.

use super::super::activity::{Activity, Step};
use super::super::foreign::Foreign;
use super::super::harness::Dice;
use super::World;
use reveille::io::Unblock;
use reveille::time::{Duration, timeout};
use std::fs::{File, OpenOptions};
use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Makes a file that has no name any more.
fn unnamed() -> io::Result<File> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let name = format!("reveille-file-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// What the file should have.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    at: usize,
}

impl Model {
    async fn read(&mut self, file: &mut Unblock<File>, dice: &mut Dice) -> io::Result<bool> {
        let mut buffer = vec![0; 1 + dice.below(5000)];
        let short = Duration::from_micros(dice.below(100) as u64);
        let count = match dice.below(3) {
            // The next read returns what this one finds.
            0 => match timeout(short, file.read(&mut buffer)).await {
                Ok(count) => count?,
                Err(_elapsed) => return Ok(true),
            },
            _ => file.read(&mut buffer).await?,
        };
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let is_right = rest.starts_with(&buffer[..count]) && (count != 0 || rest.is_empty());
        self.at += count;
        Ok(is_right)
    }

    async fn write(&mut self, file: &mut Unblock<File>, dice: &mut Dice) -> io::Result<bool> {
        // A read that was dropped may be behind the place.
        let at = file.seek(SeekFrom::Current(0)).await?;
        let new: Vec<u8> = (0..1 + dice.below(5000))
            .map(|_| dice.next() as u8)
            .collect();
        file.write_all(&new).await?;
        if dice.one_in(3) {
            let short = Duration::from_micros(dice.below(100) as u64);
            match timeout(short, file.flush()).await {
                Ok(flushed) => flushed?,
                Err(_elapsed) => {}
            }
        }
        let is_right = at == self.at as u64;
        let end = self.at + new.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[self.at..end].copy_from_slice(&new);
        self.at = end;
        Ok(is_right)
    }

    async fn seek(&mut self, file: &mut Unblock<File>, dice: &mut Dice) -> io::Result<bool> {
        let to = dice.below(self.bytes.len() + 1);
        let from = match dice.below(3) {
            0 => SeekFrom::Start(to as u64),
            1 => SeekFrom::Current(to as i64 - self.at as i64),
            _ => SeekFrom::End(to as i64 - self.bytes.len() as i64),
        };
        self.at = to;
        Ok(file.seek(from).await? == to as u64)
    }
}

pub(super) async fn use_one(world: Arc<World>) {
    let mut dice = world.dice();
    let activity = Activity::new("uses a file".to_owned());
    let mut file = Unblock::with_capacity(1 + dice.below(8000), unnamed().unwrap());
    let mut model = Model::default();
    for step in 0..dice.below(60) {
        activity.set(Step::Reads, -1, step);
        let way = dice.below(8);
        let done = match way {
            0..=2 => model.read(&mut file, &mut dice).await,
            3 | 4 => model.write(&mut file, &mut dice).await,
            5 => model.seek(&mut file, &mut dice).await,
            6 => {
                let length = file.with_mut(|file| file.metadata().map(|found| found.len()));
                match length.await {
                    Ok(Ok(length)) => Ok(length == model.bytes.len() as u64),
                    Ok(Err(error)) | Err(error) => Err(error),
                }
            }
            _ => file.get_mut().await.map(|_| true),
        };
        if !matches!(done, Ok(true)) {
            return world.fault(&format!("call {way} of a file, number {step}: {done:?}"));
        }
    }
    if let Err(error) = file.flush().await {
        world.fault(&format!("a file is not flushed: {error}"));
    }
}
