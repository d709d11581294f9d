//! A ring in one granted page (`public/io/ring.h`): two producer counts, two marks of who wants to be woken when, slots.
//!
//! Counts run freely over all 32 bits. The guest may write anything anywhere in the page at any time. So each value is
//! loaded once, by an atomic load; what *we* have produced and consumed is kept here and never read back; and the only
//! thing that a guest can do to us is to claim that it produced more than the ring holds, which is [`RingFault`].

use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use crate::{PAGE, Shared};

/// Slots of both of netif's rings.
pub const SLOTS: u32 = 256;

/// Where the words of the page lie.
mod field {
    pub const REQ_PROD: usize = 0;
    pub const REQ_EVENT: usize = 1;
    pub const RSP_PROD: usize = 2;
    pub const RSP_EVENT: usize = 3;
    pub const SLOTS: usize = 16;
}

/// The guest claims more requests than the ring has slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request count moved to {produced}, {ahead} ahead of ours in a ring of {SLOTS}")]
pub struct RingFault {
    /// What it wrote.
    pub produced: u32,
    /// Distance from what we consumed.
    pub ahead: u32,
}

/// The page, as words. `W` words to a slot.
#[derive(Clone, Copy, Debug)]
pub struct Page<const W: usize> {
    base: NonNull<u32>,
}

// SAFETY: an address in memory that is shared by nature, accessed atomically. Whoever keeps a Page keeps the mapping, as
// promised to `new`.
unsafe impl<const W: usize> Send for Page<W> {}

impl<const W: usize> Page<W> {
    const FITS: () = assert!(field::SLOTS * 4 + SLOTS as usize * W * 4 <= PAGE && W >= 1);

    /// The ring in the first page of `shared`.
    ///
    /// # Safety
    /// `shared` stays for as long as the value or a copy of it is used, and was mapped for writing.
    pub unsafe fn new(shared: &Shared) -> Self {
        const { Self::FITS };
        Self { base: shared.base().cast() }
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at < PAGE / 4);
        // SAFETY: a word of the page, which is mapped by the promise to `new`; aligned, as the page is.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(at)) }
    }

    #[inline]
    fn slot_word(&self, index: u32, word: usize) -> &AtomicU32 {
        self.word(field::SLOTS + (index % SLOTS) as usize * W + word)
    }

    /// Requests that the guest says it produced; what it wrote into them is seen after this.
    #[inline]
    pub fn requests(&self) -> u32 {
        self.word(field::REQ_PROD).load(Acquire)
    }

    /// Guest's side: shows requests.
    pub fn set_requests(&self, produced: u32) {
        self.word(field::REQ_PROD).store(produced, Release);
    }

    /// Responses that were produced; read by the guest, and once by a backend that takes over.
    pub fn responses(&self) -> u32 {
        self.word(field::RSP_PROD).load(Acquire)
    }

    /// Shows responses.
    #[inline]
    pub fn set_responses(&self, produced: u32) {
        self.word(field::RSP_PROD).store(produced, Release);
    }

    /// The request count at which we want to be woken.
    pub fn request_event(&self) -> u32 {
        self.word(field::REQ_EVENT).load(Relaxed)
    }

    /// Asks to be woken when the request count reaches `at`.
    #[inline]
    pub fn set_request_event(&self, at: u32) {
        self.word(field::REQ_EVENT).store(at, Relaxed);
    }

    /// The response count at which the guest wants to be woken.
    #[inline]
    pub fn response_event(&self) -> u32 {
        self.word(field::RSP_EVENT).load(Relaxed)
    }

    /// Guest's side: asks to be woken.
    pub fn set_response_event(&self, at: u32) {
        self.word(field::RSP_EVENT).store(at, Relaxed);
    }

    /// Loads all words of a slot, each once.
    #[inline]
    pub fn load(&self, index: u32) -> [u32; W] {
        std::array::from_fn(|word| self.slot_word(index, word).load(Relaxed))
    }

    /// Stores the first words of a slot.
    #[inline]
    pub fn store<const N: usize>(&self, index: u32, words: [u32; N]) {
        const { assert!(N <= W) };
        for (at, word) in words.into_iter().enumerate() {
            self.slot_word(index, at).store(word, Relaxed);
        }
    }
}

/// The backend's end of a ring.
#[derive(Debug)]
pub struct BackRing<const W: usize> {
    page: Page<W>,
    /// Requests that we took.
    consumed: u32,
    /// Responses that we wrote.
    produced: u32,
    /// Of those, the ones that the guest was shown.
    shown: u32,
    /// Of those, the ones after which we looked whether it wants to be woken.
    told: u32,
}

impl<const W: usize> BackRing<W> {
    /// Takes a ring over from where its responses end: what was taken before and not answered is taken again. Nothing of
    /// what the guest may have written there is believed beyond that.
    pub fn attach(page: Page<W>) -> Self {
        let from = page.responses();
        Self { page, consumed: from, produced: from, shown: from, told: from }
    }

    /// Requests that wait.
    ///
    /// # Errors
    /// More than there can be.
    #[inline]
    pub fn waiting(&self) -> Result<u32, RingFault> {
        let produced = self.page.requests();
        let ahead = produced.wrapping_sub(self.consumed);
        // Requests and responses share the slots: taken and not answered are at most what is still free.
        if ahead > SLOTS - self.unanswered() { Err(RingFault { produced, ahead }) } else { Ok(ahead) }
    }

    /// Requests that we took and did not answer.
    #[inline]
    pub fn unanswered(&self) -> u32 {
        self.consumed.wrapping_sub(self.produced)
    }

    /// Takes the next request: one load of each of its words. Only after [`waiting`](Self::waiting) found one.
    #[inline]
    pub fn take(&mut self) -> [u32; W] {
        let slot = self.page.load(self.consumed);
        self.consumed = self.consumed.wrapping_add(1);
        slot
    }

    /// Goes back behind the last `n` requests that were taken.
    #[inline]
    pub fn untake(&mut self, n: u32) {
        debug_assert!(n <= self.unanswered());
        self.consumed = self.consumed.wrapping_sub(n);
    }

    /// Writes the next response, in the slot of the oldest request that is not answered.
    #[inline]
    pub fn respond<const N: usize>(&mut self, words: [u32; N]) {
        debug_assert!(self.unanswered() > 0);
        self.page.store(self.produced, words);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Shows the guest what was written.
    #[inline]
    pub fn show(&mut self) {
        if self.shown != self.produced {
            self.shown = self.produced;
            self.page.set_responses(self.shown);
        }
    }

    /// Whether the guest wants to be woken for what it was shown since this was last asked.
    #[inline]
    pub fn must_notify(&mut self) -> bool {
        if self.told == self.shown {
            return false;
        }
        // We show, then look at its mark; it sets its mark, then looks at what is shown.
        fence(SeqCst);
        let old = std::mem::replace(&mut self.told, self.shown);
        self.shown.wrapping_sub(self.page.response_event()) < self.shown.wrapping_sub(old)
    }

    /// Asks to be woken for the next request. True when there is none yet; not for a count that moved backwards, which is to be
    /// looked at.
    pub fn arm(&self) -> bool {
        self.arm_for(1).is_some() && self.page.requests() == self.consumed
    }

    /// Asks to be woken when so many requests wait. The request count that is then reached; none when it is already.
    pub fn arm_for(&self, requests: u32) -> Option<u32> {
        let at = self.consumed.wrapping_add(requests);
        self.page.set_request_event(at);
        // The guest shows, then looks at our mark; we set the mark, then look at what is shown.
        fence(SeqCst);
        (!self.has_reached(at)).then_some(at)
    }

    /// Whether the guest has shown its requests up to this count, which was ahead of us by no more than the ring's size.
    pub fn has_reached(&self, at: u32) -> bool {
        (self.page.requests().wrapping_sub(at) as i32) >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::Release;

    #[derive(Debug)]
    struct Boxed;

    impl Release for Boxed {
        fn release(&mut self, base: NonNull<u8>, _len: usize) {
            // SAFETY: made by `page` below.
            drop(unsafe { Box::from_raw(base.as_ptr().cast::<[u64; 512]>()) });
        }

        fn on_unmap(&mut self, _: usize, _: Option<crate::EventPort>) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn page() -> Shared {
        let base = Box::into_raw(Box::new([0u64; 512]));
        Shared::new(NonNull::new(base.cast()).unwrap(), 1, Box::new(Boxed))
    }

    fn ring(shared: &Shared, start: u32) -> (Page<3>, BackRing<3>) {
        // SAFETY: the page outlives the ring in every test.
        let page = unsafe { Page::new(shared) };
        page.set_requests(start);
        page.set_responses(start);
        (page, BackRing::attach(page))
    }

    #[test]
    fn counts_wrap_and_slots_are_reused() {
        let shared = page();
        let (page, mut ring) = ring(&shared, u32::MAX - 100);
        for round in 0..300u32 {
            let at = page.requests();
            page.store(at, [round, 2, 3]);
            page.set_requests(at.wrapping_add(1));
            assert_eq!(ring.waiting(), Ok(1));
            assert_eq!(ring.take(), [round, 2, 3]);
            ring.respond([round + 1]);
            ring.show();
            assert_eq!(page.load(at), [round + 1, 2, 3]);
        }
        assert_eq!(page.responses(), page.requests());
    }

    #[test]
    fn a_count_that_jumps_is_found() {
        let shared = page();
        let (page, mut ring) = ring(&shared, 5);
        for bad in [5 + 257, 4, 5 + (1 << 31)] {
            page.set_requests(bad);
            assert!(ring.waiting().is_err(), "{bad}");
        }
        page.set_requests(5 + 256);
        assert_eq!(ring.waiting(), Ok(256));
        ring.take();
        page.set_requests(5 + 257);
        assert!(ring.waiting().is_err(), "an unanswered request would be overwritten");
    }

    #[test]
    fn the_guest_is_woken_when_its_mark_is_passed() {
        let shared = page();
        let (page, mut ring) = ring(&shared, 0);
        let mut answer = |n: u32, mark: u32| {
            page.set_response_event(mark);
            page.set_requests(page.requests() + n);
            for _ in 0..n {
                ring.waiting().unwrap();
                ring.take();
                ring.respond([0]);
            }
            ring.show();
            ring.must_notify()
        };
        assert!(answer(1, 1), "0 to 1, mark 1");
        assert!(!answer(1, 1), "1 to 2, mark 1: passed before");
        assert!(!answer(2, 5), "2 to 4, mark 5");
        assert!(answer(1, 5), "4 to 5, mark 5");
        assert!(answer(10, 7), "5 to 15, mark 7");
        assert!(!answer(0, 15), "nothing shown");
    }

    #[test]
    fn arming_sees_what_came_before() {
        let shared = page();
        let (page, ring) = ring(&shared, 10);
        assert!(ring.arm());
        assert_eq!(page.request_event(), 11);
        for there in [11, 9] {
            page.set_requests(there);
            assert!(!ring.arm(), "{there}");
        }
    }
}
