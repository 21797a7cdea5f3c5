//! Finds and opens the files below a folder. All calls here block.
//!
//! What is not found, as if it did not exist:
//!
//! - names that begin with a dot, encoded or not: `..` above all, and `.git`
//! - empty names, as in `a//b`, and names with a slash or a NUL
//! - symbolic links that lead out of the folder; those that stay in it are followed
//! - devices, pipes and sockets
//! - what this process may not read
//!
//! Someone who may rename things in the folder while it is served can make a link lead out between
//! the check and the opening. To exclude that too, open by `openat2` with `RESOLVE_BENEATH`.

use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

pub(crate) struct Files {
    /// Without symbolic links in it.
    root: PathBuf,
    /// The files that are open, by device and inode.
    open: Mutex<HashMap<(u64, u64), Weak<File>>>,
}

/// A file that is open, and what it was when it was opened.
pub(crate) struct Opened {
    /// Positioned reads only: others read it too.
    pub(crate) file: Arc<File>,
    pub(crate) metadata: Metadata,
    /// The name of a folder's file is `index.html`.
    pub(crate) path: PathBuf,
}

/// Why there is no file.
pub(crate) enum Fault {
    NotFound,
    /// It is a folder, and the path lacks the slash at its end.
    Folder,
    /// The process or the system lacks descriptors or memory now.
    Busy,
    Other(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.raw_os_error() {
            Some(
                libc::ENOENT
                | libc::ENOTDIR
                | libc::EACCES
                | libc::ELOOP
                | libc::ENAMETOOLONG
                | libc::ENXIO,
            ) => Fault::NotFound,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Fault::Busy,
            _ => Fault::Other(error),
        }
    }
}

impl Files {
    pub(crate) fn new(root: &Path) -> io::Result<Files> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Files {
            root,
            open: Mutex::default(),
        })
    }

    /// Opens what the path of a request leads to.
    pub(crate) fn open(&self, path: &str) -> Result<Opened, Fault> {
        let (mut asked, is_folder) = self.decode(path).ok_or(Fault::NotFound)?;
        if is_folder {
            asked.push("index.html");
        }
        let path = asked.canonicalize()?;
        if !path.starts_with(&self.root) {
            return Err(Fault::NotFound);
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() && !is_folder {
            return Err(Fault::Folder);
        }
        if !metadata.is_file() {
            return Err(Fault::NotFound);
        }
        let file = match self.shared(&metadata) {
            Some(file) => file,
            None => self.open_first(&path)?,
        };
        let metadata = file.metadata()?;
        Ok(Opened {
            file,
            metadata,
            path: asked,
        })
    }

    /// Returns the path in the file system, and whether it is that of a folder. `None`: there is
    /// nothing at such a path.
    fn decode(&self, path: &str) -> Option<(PathBuf, bool)> {
        let names = path.strip_prefix('/')?;
        let mut decoded = self.root.clone();
        if names.is_empty() {
            return Some((decoded, true));
        }
        let folder = names.strip_suffix('/');
        // Decoded after the split: a slash in a name does not separate.
        for name in folder.unwrap_or(names).split('/') {
            let name: Vec<u8> = percent_decode_str(name).collect();
            let is_hidden = name.is_empty() || name[0] == b'.';
            if is_hidden || name.contains(&b'/') || name.contains(&0) {
                return None;
            }
            decoded.push(OsStr::from_bytes(&name));
        }
        Some((decoded, folder.is_some()))
    }

    /// Returns a file that is open already.
    fn shared(&self, metadata: &Metadata) -> Option<Arc<File>> {
        let open = self.open.lock().unwrap();
        open.get(&key(metadata)).and_then(Weak::upgrade)
    }

    fn open_first(&self, path: &Path) -> Result<Arc<File>, Fault> {
        // Neither waits for the writer of a pipe nor follows a link, if one was put there by now.
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::NotFound);
        }
        let file = Arc::new(file);
        let mut open = self.open.lock().unwrap();
        // Those that no client reads are closed. Their entries go when the table would grow.
        if open.len() == open.capacity() {
            open.retain(|_key, file| file.strong_count() > 0);
        }
        open.insert(key(&metadata), Arc::downgrade(&file));
        Ok(file)
    }
}

/// What tells files apart while they are open.
fn key(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let files = Files::new(Path::new(".")).ok().unwrap();
        let root = files.root.clone();
        let found = |path: &str, below: &str, is_folder: bool| {
            let wanted = (root.join(below), is_folder);
            assert!(files.decode(path) == Some(wanted), "{path}");
        };
        found("/", "", true);
        found("/a/b.txt", "a/b.txt", false);
        found("/a/", "a", true);
        found("/a%20b%C3%A9", "a bé", false);
        // No code of two digits: the name has a percent sign.
        found("/100%", "100%", false);
        found("/%zz", "%zz", false);
        for path in [
            "",
            "*",
            "a",
            "//",
            "/a//b",
            "//a",
            "/..",
            "/../a",
            "/a/../b",
            "/a/..",
            "/.",
            "/./a",
            "/%2e%2e/a",
            "/%2E./a",
            "/.%2e/a",
            "/..%2fa",
            "/a%2fb",
            "/%2f",
            "/%2fetc",
            "/a%00",
            "/.git/config",
            "/%2egit",
        ] {
            assert!(files.decode(path).is_none(), "{path}");
        }
    }
}
