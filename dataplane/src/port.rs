//! What a port is to a worker: five verbs.
//!
//! A port (strictly: one queue of a port) belongs to one worker, which alone calls it. Setting up, reconnecting and
//! tearing down happen on the control thread; the two meet in a mailbox that `pull` glances at once a burst.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::drops::{DropCounters, DropReason};
use crate::frame::Burst;
use crate::offload::Offloads;
use crate::pool::Pool;
use crate::units::{GuestId, Nanos, PortId};

/// One queue of a port, as its worker sees it.
pub trait Port: Send {
    /// Takes frames that arrived, as many as there are and `burst` has room for, appending to it.
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst);

    /// Takes every frame of `burst` for transmission and leaves it empty. What cannot be sent is freed and counted.
    fn push(&mut self, pool: &mut Pool, burst: &mut Burst);

    /// Whose the frames are that are pushed from now on: of a guest, or of the uplinks. Who has one queue for all need
    /// not know.
    fn source(&mut self, guest: GuestId) {
        let _ = guest;
    }

    /// Ends a breath: whatever was pushed since the last flush is shown to the peer, with at most one system call.
    fn flush(&mut self, pool: &mut Pool);

    /// Wakes the peer if it sleeps and was shown something since it was last told. Called after
    /// [`flush`](Self::flush), once the worker has nothing else to do or frames have gathered for long enough: to wake
    /// somebody costs more than a burst.
    fn notify(&mut self) {}

    /// Work that is due now and then, about every 10 ms while busy and once a second at rest: counters, ageing.
    fn tick(&mut self, pool: &mut Pool, now: Nanos);

    /// Asks to be woken through `sleep` when frames arrive. True when the worker may sleep; false when there is
    /// something to do already. Called only when the last breath found nothing.
    fn arm(&mut self, sleep: &Sleep) -> bool;

    /// Undoes [`arm`](Self::arm) after sleeping: while the worker is awake nobody needs to wake it. `sleep` tells who woke
    /// it: a port that did not has nothing to ask the kernel for.
    fn disarm(&mut self, sleep: &Sleep) {
        let _ = sleep;
    }

    /// Whether frames that it took are still to be shown to whoever sends them, because that one had no room. It is flushed
    /// again in the next breath.
    #[inline]
    fn is_unsent(&self) -> bool {
        false
    }

    /// When the port wants to be flushed although nothing arrives: a shaped port with frames in its queue.
    fn deadline(&self) -> Option<Nanos> {
        None
    }

    /// Leaves its worker: frames that it still holds go back to `pool`. Whatever takes time is done when it is dropped,
    /// which is the control side's.
    fn detach(&mut self, pool: &mut Pool) {
        let _ = pool;
    }

    /// Whether the peer's side is up, and so whether flooding to it makes sense.
    fn is_up(&self) -> bool {
        true
    }

    /// Whether the output has so little room that frames for it had better not be received at all.
    fn is_full(&self) -> bool {
        false
    }

    /// Asks to be woken, through what [`arm`](Self::arm) watches, when an output that [is full](Self::is_full) has room
    /// again. False where there is room meanwhile, or where nobody would tell: the worker then looks again soon.
    fn arm_room(&mut self) -> bool {
        false
    }

    /// So many of the frames that were pulled last leave by `output`. For ports that hold frames of many guests in one row.
    fn sorted(&mut self, _output: PortId, _frames: usize) {}

    /// How many chunks of frames can be pushed now and will not be dropped for want of room. A port that cannot tell has
    /// always room.
    fn room(&mut self) -> usize {
        usize::MAX
    }

    /// What may be left to do for frames that are pushed. The worker does the rest before it pushes them.
    fn accepts(&self) -> Offloads {
        Offloads::NONE
    }

    /// What this queue has counted.
    fn counters(&self) -> &Arc<Counters>;

    /// How the queue is attached, for `show ports`: mode and why.
    fn mode(&self) -> String;
}

/// What one queue of a port has counted since the engine started. One worker writes, anyone reads.
///
/// Aligned so that two workers' counters never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Frames that came in from the peer.
    pub rx_frames: AtomicU64,
    /// Their bytes, without FCS.
    pub rx_bytes: AtomicU64,
    /// Frames that went out to the peer.
    pub tx_frames: AtomicU64,
    /// Their bytes, without FCS.
    pub tx_bytes: AtomicU64,
    /// Whether the peer was there when the worker last looked.
    pub up: AtomicBool,
    /// Frames lost: those that came in here and went nowhere, and those that should have left here.
    pub drops: DropCounters,
}

impl Counters {
    /// Counts frames that came in.
    #[inline]
    pub fn received(&self, frames: u64, bytes: u64) {
        add(&self.rx_frames, frames);
        add(&self.rx_bytes, bytes);
    }

    /// Counts frames that went out.
    #[inline]
    pub fn sent(&self, frames: u64, bytes: u64) {
        add(&self.tx_frames, frames);
        add(&self.tx_bytes, bytes);
    }

    /// Counts lost frames.
    #[inline]
    pub fn dropped(&self, reason: DropReason, frames: u64) {
        self.drops.count(reason, frames);
    }
}

/// Adds without a locked instruction: each counter has one writer.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

/// Where a worker sleeps: an epoll instance that ports put their descriptors into.
#[derive(Debug)]
pub struct Sleep {
    epoll: OwnedFd,
    /// What ended the last sleep: the first `count` of them.
    woken: [Cell<RawFd>; MOST_WOKEN],
    count: Cell<usize>,
}

/// Descriptors that one sleep tells of. Others that are ready as well end the next one.
const MOST_WOKEN: usize = 16;

impl Sleep {
    /// An empty one.
    ///
    /// # Errors
    /// What `epoll_create1` said.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, woken: [const { Cell::new(-1) }; MOST_WOKEN], count: Cell::new(0) })
    }

    /// Wakes the worker while `fd` is readable. A port calls it once for a descriptor; closing the descriptor ends it.
    ///
    /// # Errors
    /// What `epoll_ctl` said.
    pub fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.add(fd, libc::EPOLLIN as u32)
    }

    /// Wakes the worker whenever `fd` *becomes* readable: an eventfd then never needs to be read.
    ///
    /// # Errors
    /// What `epoll_ctl` said.
    pub fn watch_edge(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.add(fd, (libc::EPOLLIN | libc::EPOLLET) as u32)
    }

    /// Ends [`watch_edge`](Self::watch_edge) for `fd`: needed where someone else keeps the open file and may signal it on.
    pub fn unwatch(&self, fd: BorrowedFd<'_>) {
        // SAFETY: both descriptors are open; removing takes no event.
        unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), std::ptr::null_mut());
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, events: u32) -> io::Result<()> {
        let fd: RawFd = fd.as_raw_fd();
        let mut event = libc::epoll_event { events, u64: fd as u64 };
        // SAFETY: `event` is valid for the call; both descriptors are open.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the last sleep ended because of `fd`.
    #[inline]
    pub fn was_ended_by(&self, fd: BorrowedFd<'_>) -> bool {
        self.woken[..self.count.get()].iter().any(|woken| woken.get() == fd.as_raw_fd())
    }

    /// There was work before anybody slept.
    pub fn skip(&self) {
        self.count.set(0);
    }

    /// Sleeps until a watched descriptor is ready or `timeout` is over.
    pub fn wait(&self, timeout: Nanos) {
        let timeout =
            libc::timespec { tv_sec: (timeout.0 / 1_000_000_000) as i64, tv_nsec: (timeout.0 % 1_000_000_000) as i64 };
        let mut events = [const { libc::epoll_event { events: 0, u64: 0 } }; MOST_WOKEN];
        // SAFETY: `events` has room for as many entries as is told; `timeout` is valid; a null signal mask is allowed.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.as_mut_ptr(),
                events.len(),
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        let ready = usize::try_from(ready).unwrap_or(0);
        for (woken, event) in self.woken.iter().zip(&events[..ready]) {
            woken.set(event.u64 as RawFd);
        }
        self.count.set(ready);
    }
}
