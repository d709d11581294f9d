//! The state file: either the old state or the new one, whatever happens meanwhile.
//!
//! A new state is written beside the old one, brought to the disk, and takes the old one's name in one step (`rename`);
//! then the directory is brought to the disk as well. Killed anywhere, the file is the old one or the new one. The first
//! line says what it is, its version, how long the rest is and a checksum of it, so that what a broken disk or a hand
//! made of it is told from a state. A lock on a file of its own beside it (the state's own inode changes with every
//! commit) keeps two from changing it at once; readers need none.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::State;

const MAGIC: &str = "pointsman-vxi-state";

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Where a state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    path: PathBuf,
}

/// A store that nobody else changes until this is dropped.
#[derive(Debug)]
pub struct Locked {
    store: Store,
    /// Unlocks when it is closed, by whatever closes it.
    _lock: File,
}

/// Why a state cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system says no.
    #[error("{}: cannot {doing}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// Something else.
    #[error("{}: this is no state file of pointsman vxi: name another file, or move this one away", path.display())]
    NotAState {
        /// The file.
        path: PathBuf,
    },
    /// A state of another program version.
    #[error(
        "{}: a state of version {found}, and this pointsman reads version {VERSION}: use the pointsman that wrote it",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A part is missing, or more is there than was written.
    #[error(
        "{}: torn: {found} bytes of state where {wanted} were written: restore it from a copy; nothing was changed",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// How long it is.
        found: usize,
        /// How long it was.
        wanted: usize,
    },
    /// It is not what was written.
    #[error("{}: its checksum does not match its content: restore it from a copy; nothing was changed", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// It is what was written, and makes no sense.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// Another one changes it now.
    #[error("{}: another pointsman is changing this state: try again when it is done", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl Store {
    /// The state in a file, which need not be there yet. A link is followed, so that what it names is replaced and not
    /// the link.
    pub fn at(path: &Path) -> Self {
        Self { path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state that is there; none: there is no file.
    ///
    /// # Errors
    /// It cannot be read, or is no whole state.
    pub fn read(&self) -> Result<Option<State>, StoreError> {
        match fs::read(&self.path) {
            Ok(bytes) => self.parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io("read it", error)),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<State, StoreError> {
        let path = || self.path.clone();
        let not_a_state = || StoreError::NotAState { path: path() };
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| not_a_state())?;
        let body = bytes.get(end + 1..).unwrap_or_default();
        let mut words = header.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(if bytes.is_empty() || MAGIC.as_bytes().starts_with(&bytes[..end]) {
                StoreError::Torn { path: path(), found: 0, wanted: 1 }
            } else {
                not_a_state()
            });
        }
        let version = words.next().unwrap_or_default();
        if version != VERSION.to_string() {
            return Err(StoreError::OtherVersion { path: path(), found: version.to_owned() });
        }
        let wanted: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| self.corrupt())?;
        if body.len() != wanted {
            return Err(StoreError::Torn { path: path(), found: body.len(), wanted });
        }
        if words.next() != Some(format!("{:016x}", checksum(body)).as_str()) || words.next().is_some() {
            return Err(self.corrupt());
        }
        serde_json::from_slice(body).map_err(|error| StoreError::Content { path: path(), error })
    }

    /// Keeps others from changing it, who are waited for; `wait` is called once if that takes any time.
    ///
    /// # Errors
    /// The lock cannot be had at all.
    pub fn lock(&self, wait: impl FnOnce()) -> Result<Locked, StoreError> {
        self.locked(|lock| match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                wait();
                lock.lock().map_err(|error| self.io("lock it", error))
            }
            Err(TryLockError::Error(error)) => Err(self.io("lock it", error)),
            Ok(()) => Ok(()),
        })
    }

    /// The same, but waits for nobody.
    ///
    /// # Errors
    /// Another one changes it now, or the lock cannot be had at all.
    pub fn try_lock(&self) -> Result<Locked, StoreError> {
        self.locked(|lock| match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(self.io("lock it", error)),
            Ok(()) => Ok(()),
        })
    }

    fn locked(&self, take: impl FnOnce(&File) -> Result<(), StoreError>) -> Result<Locked, StoreError> {
        let beside = self.beside("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside);
        let lock = lock.map_err(|error| self.io("lock it", error))?;
        take(&lock)?;
        Ok(Locked { store: self.clone(), _lock: lock })
    }

    /// A file of the same directory: the name of this one, a dot before it and a word after it.
    fn beside(&self, word: &str) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".");
        name.push(word);
        self.path.with_file_name(name)
    }

    fn io(&self, doing: &'static str, error: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), doing, error }
    }

    fn corrupt(&self) -> StoreError {
        StoreError::Corrupt { path: self.path.clone() }
    }
}

impl Locked {
    /// The state that is there; none: there is no file.
    ///
    /// # Errors
    /// See [`Store::read`].
    pub fn read(&self) -> Result<Option<State>, StoreError> {
        self.store.read()
    }

    /// Puts a state in the place of what is there. When it returns, it is on the disk.
    ///
    /// # Errors
    /// It could not be written; what was there is there still.
    pub fn commit(&self, state: &State) -> Result<(), StoreError> {
        let mut body = serde_json::to_vec_pretty(state)
            .map_err(|error| StoreError::Content { path: self.store.path.clone(), error })?;
        body.push(b'\n');
        let mut bytes = format!("{MAGIC} {VERSION} {} {:016x}\n", body.len(), checksum(&body)).into_bytes();
        bytes.append(&mut body);
        let new = self.store.beside("new");
        let written = self.write(&new, &bytes);
        if written.is_err() {
            // What is left of it is of no use; the next commit would overwrite it as well.
            let _ = fs::remove_file(&new);
        }
        written.map_err(|error| self.store.io("write it", error))
    }

    fn write(&self, new: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = &self.store.path;
        let mut file = File::create(new)?;
        if let Ok(known) = fs::metadata(path) {
            file.set_permissions(known.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// FNV-1a, 64 bits: against accidents, not against malice.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substrate::Substrate;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pointsman-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }

        fn store(&self) -> Store {
            Store::at(&self.0.join("state"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn state(id: &str) -> State {
        State { substrate: Substrate { id: id.to_owned(), ..Substrate::default() }, leases: Vec::new() }
    }

    fn commit(store: &Store, state: &State) {
        store.lock(|| ()).expect("nobody else").commit(state).expect("it is written");
    }

    #[test]
    fn what_was_committed_is_read() {
        let scratch = Scratch::new("read");
        let store = scratch.store();
        assert_eq!(store.read().expect("no file is no error"), None);
        for id in ["one", "two"] {
            commit(&store, &state(id));
            assert_eq!(store.read().expect("a state"), Some(state(id)));
        }
        assert!(!store.beside("new").exists());
    }

    #[test]
    fn a_state_torn_anywhere_or_changed_anywhere_is_told() {
        let scratch = Scratch::new("torn");
        let store = scratch.store();
        commit(&store, &state("whole"));
        let whole = fs::read(store.path()).expect("it is there");
        for length in 0..whole.len() {
            fs::write(store.path(), &whole[..length]).expect("written");
            assert!(store.read().is_err(), "{length} of {} bytes pass for a state", whole.len());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            fs::write(store.path(), &bytes).expect("written");
            assert!(store.read().is_err(), "byte {at} can be changed");
        }
        fs::write(store.path(), [&whole[..], b"\n"].concat()).expect("written");
        assert!(matches!(store.read(), Err(StoreError::Torn { .. })));
    }

    #[test]
    fn other_files_and_other_versions_are_named_as_such() {
        let scratch = Scratch::new("other");
        let store = scratch.store();
        fs::write(store.path(), "[engine]\n").expect("written");
        assert!(matches!(store.read(), Err(StoreError::NotAState { .. })));
        fs::write(store.path(), "pointsman-vxi-state 2 0 0\n").expect("written");
        let Err(StoreError::OtherVersion { found, .. }) = store.read() else { panic!("version 2 was read") };
        assert_eq!(found, "2");
        fs::write(store.path(), "").expect("written");
        assert!(matches!(store.read(), Err(StoreError::Torn { .. })));
    }

    #[test]
    fn two_cannot_change_it_at_once() {
        let scratch = Scratch::new("lock");
        let store = scratch.store();
        let first = store.lock(|| ()).expect("nobody else");
        assert!(matches!(store.try_lock(), Err(StoreError::Busy { .. })));
        drop(first);
        assert!(store.try_lock().is_ok());
    }

    #[test]
    fn what_a_link_names_is_replaced_and_not_the_link() {
        let scratch = Scratch::new("link");
        commit(&scratch.store(), &state("one"));
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink(scratch.0.join("state"), &link).expect("a link");
        commit(&Store::at(&link), &state("two"));
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(scratch.store().read().expect("a state"), Some(state("two")));
    }

    #[test]
    fn what_cannot_be_written_leaves_what_is_there() {
        let scratch = Scratch::new("full");
        let store = scratch.store();
        commit(&store, &state("one"));
        // A directory in the way of the new file.
        fs::create_dir(store.beside("new")).expect("a directory");
        let error = store.lock(|| ()).expect("nobody else").commit(&state("two")).expect_err("it cannot");
        assert!(error.to_string().contains("cannot write it"), "{error}");
        assert_eq!(store.read().expect("a state"), Some(state("one")));
    }
}
