//! A bounded ring with one producer and one consumer: the only thing that two workers share.
//!
//! Both sides work on private copies of their index and of the other side's, and touch the shared ones once a burst:
//! the producer publishes what it put, the consumer releases what it took. Each index has one writer, so neither side
//! needs a locked instruction, and neither can make the other wait.
//!
//! The ring must never be asked to hold more than its capacity; [`Producer::put`] refuses and the caller decides.

use std::mem::MaybeUninit;

use sync::{Arc, AtomicBool, AtomicU32, Ordering, UnsafeCell, fence};

/// Memory operations, real ones or those that `loom` can reorder.
mod sync {
    #[cfg(loom)]
    pub use loom::{
        cell::UnsafeCell,
        sync::Arc,
        sync::atomic::{AtomicBool, AtomicU32, Ordering, fence},
    };
    #[cfg(not(loom))]
    pub use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering, fence},
    };

    /// `std`'s cell with the access methods of `loom`'s.
    #[cfg(not(loom))]
    #[derive(Debug)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(loom))]
    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

/// A value on cache lines of its own, so that one side's writes do not slow the other's. Two lines, since the hardware
/// prefetches them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

#[derive(Debug)]
struct Shared<T> {
    /// Everything before it has been put. Written by the producer.
    tail: Line<AtomicU32>,
    /// Everything before it has been taken. Written by the consumer.
    head: Line<AtomicU32>,
    /// The consumer is about to sleep, or sleeps, and wants to be woken.
    sleeping: Line<AtomicBool>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    mask: u32,
}

// SAFETY: a slot is written only by the producer while it lies outside head..tail and read only by the consumer while
// it lies inside; the release stores and acquire loads of both indices order the two.
unsafe impl<T: Send> Sync for Shared<T> {}

/// A ring of at least `capacity` slots (the next power of two), both ends.
///
/// `T` is `Copy`: a ring that is dropped forgets what lies in it.
pub fn ring<T: Copy + Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.clamp(1, 1 << 20).next_power_of_two();
    let shared = Arc::new(Shared {
        tail: Line(AtomicU32::new(0)),
        head: Line(AtomicU32::new(0)),
        sleeping: Line(AtomicBool::new(false)),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        mask: capacity as u32 - 1,
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, published: 0, head: 0 };
    (producer, Consumer { shared, head: 0, released: 0, tail: 0 })
}

impl<T> Shared<T> {
    fn slot(&self, index: u32) -> Option<&UnsafeCell<MaybeUninit<T>>> {
        self.slots.get((index & self.mask) as usize)
    }
}

/// The end that puts.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Next slot to put into.
    tail: u32,
    /// What the consumer knows of `tail`.
    published: u32,
    /// What this side knows of the consumer's head.
    head: u32,
}

impl<T: Copy> Producer<T> {
    /// Slots in all.
    pub fn capacity(&self) -> u32 {
        self.shared.mask + 1
    }

    /// Whether `wanted` more can be put.
    #[inline]
    pub fn has_room(&mut self, wanted: u32) -> bool {
        if self.capacity() - self.tail.wrapping_sub(self.head) >= wanted {
            return true;
        }
        // Acquire: the consumer's reads of the slots that it released come before our writes to them.
        self.head = self.shared.head.0.load(Ordering::Acquire);
        self.capacity() - self.tail.wrapping_sub(self.head) >= wanted
    }

    /// Puts `item`, not visible to the consumer before [`publish`](Self::publish). False when the ring is full.
    #[inline]
    pub fn put(&mut self, item: T) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let Some(slot) = self.shared.slot(self.tail) else { return false };
        // SAFETY: the slot lies outside head..tail, so the consumer does not touch it; we are the only producer.
        slot.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(item)) });
        self.tail = self.tail.wrapping_add(1);
        true
    }

    /// Whether something was put that is not published.
    #[inline]
    pub fn has_unpublished(&self) -> bool {
        self.published != self.tail
    }

    /// Shows the consumer everything that was put.
    #[inline]
    pub fn publish(&mut self) {
        if self.has_unpublished() {
            self.shared.tail.0.store(self.tail, Ordering::Release);
            self.published = self.tail;
        }
    }

    /// After [`publish`](Self::publish): whether the consumer may be asleep and must be woken. True once a sleep; who
    /// gets it has to wake the consumer.
    #[inline]
    pub fn must_wake(&mut self) -> bool {
        // The store of `tail` comes before the load of `sleeping`, and on the other side the store of `sleeping` before
        // the load of `tail`: at least one side sees the other's store, so no wake-up is lost (Dekker's pattern).
        fence(Ordering::SeqCst);
        let asleep = self.shared.sleeping.0.load(Ordering::Relaxed);
        if asleep {
            // Plain, since a flag that this overwrites belongs to a sleeper that we are about to wake anyway.
            self.shared.sleeping.0.store(false, Ordering::Relaxed);
        }
        asleep
    }
}

/// The end that takes.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Next slot to take from.
    head: u32,
    /// What the producer knows of `head`.
    released: u32,
    /// What this side knows of the producer's tail.
    tail: u32,
}

impl<T: Copy> Consumer<T> {
    /// How many can be taken, at least as many as there were when asked last.
    #[inline]
    pub fn ready(&mut self) -> u32 {
        if self.head == self.tail {
            // Acquire: the producer's writes to the slots come before our reads of them.
            self.tail = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head)
    }

    /// The item `ahead` places behind the next one, if it is there already; it stays in the ring.
    #[inline]
    pub fn peek(&self, ahead: u32) -> Option<T> {
        if ahead >= self.tail.wrapping_sub(self.head) {
            return None;
        }
        let slot = self.shared.slot(self.head.wrapping_add(ahead))?;
        // SAFETY: the slot lies inside head..tail, so the producer wrote it and does not touch it now.
        Some(slot.with(|slot| unsafe { (*slot).assume_init() }))
    }

    /// Takes the next item. The producer gets its slot back at [`release`](Self::release).
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.ready() == 0 {
            return None;
        }
        let item = self.peek(0)?;
        self.head = self.head.wrapping_add(1);
        Some(item)
    }

    /// Gives the producer the slots of everything that was taken.
    #[inline]
    pub fn release(&mut self) {
        if self.released != self.head {
            self.shared.head.0.store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }

    /// Asks to be woken for what is put from now on. False, and nothing asked, when something is there already.
    pub fn arm(&mut self) -> bool {
        self.shared.sleeping.0.store(true, Ordering::Relaxed);
        // See `must_wake`.
        fence(Ordering::SeqCst);
        if self.ready() > 0 {
            self.disarm();
            return false;
        }
        true
    }

    /// Awake: no need to be woken.
    pub fn disarm(&mut self) {
        self.shared.sleeping.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_refuses_and_an_empty_one_gives_nothing() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        assert_eq!(consumer.take(), None);
        for round in 0..10 {
            for i in 0..4 {
                assert!(producer.put(round * 4 + i));
            }
            assert!(!producer.put(99));
            assert_eq!(consumer.take(), None, "nothing is seen before it is published");
            producer.publish();
            for i in 0..4 {
                assert_eq!(consumer.take(), Some(round * 4 + i));
            }
            assert_eq!(consumer.take(), None);
            assert!(!producer.put(99), "slots come back only when released");
            consumer.release();
        }
    }

    #[test]
    fn indices_wrap_around() {
        let (mut producer, mut consumer) = ring::<u64>(8);
        let start = u32::MAX - 20;
        for end in [&producer.shared.tail.0, &producer.shared.head.0] {
            end.store(start, Ordering::Relaxed);
        }
        (producer.tail, producer.published, producer.head) = (start, start, start);
        (consumer.head, consumer.released, consumer.tail) = (start, start, start);
        let (mut put, mut taken) = (0, 0);
        while taken < 60 {
            while producer.put(put) {
                put += 1;
            }
            producer.publish();
            while let Some(item) = consumer.take() {
                assert_eq!(item, taken);
                taken += 1;
            }
            consumer.release();
        }
        assert_eq!(put, taken);
    }

    #[test]
    fn two_threads_pass_everything_in_order() {
        const ITEMS: u32 = 200_000;
        let (mut producer, mut consumer) = ring::<u32>(64);
        let thread = std::thread::spawn(move || {
            let mut next = 0;
            while next < ITEMS {
                while next < ITEMS && producer.put(next) {
                    next += 1;
                }
                producer.publish();
                std::thread::yield_now();
            }
        });
        let mut next = 0;
        while next < ITEMS {
            while let Some(item) = consumer.take() {
                assert_eq!(item, next);
                next += 1;
            }
            consumer.release();
            std::thread::yield_now();
        }
        thread.join().unwrap();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    #[test]
    fn items_arrive_once_in_order_and_slots_are_never_raced_for() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<u32>(2);
            let thread = thread::spawn(move || {
                for item in 0..4 {
                    while !producer.put(item) {
                        thread::yield_now();
                    }
                    // The first is published alone, the rest in twos: a burst.
                    if item % 2 == 0 {
                        producer.publish();
                    }
                }
                producer.publish();
            });
            let mut next = 0;
            while next < 4 {
                match consumer.take() {
                    Some(item) => {
                        assert_eq!(item, next);
                        next += 1;
                    }
                    None => {
                        consumer.release();
                        thread::yield_now();
                    }
                }
            }
            assert_eq!(consumer.take(), None);
            thread.join().unwrap();
        });
    }

    /// An eventfd: rings are remembered until someone waits.
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    #[test]
    fn a_sleeper_is_woken_for_everything_that_is_put() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<u32>(2);
            let bell = Arc::new(Bell::default());
            let thread = {
                let bell = Arc::clone(&bell);
                thread::spawn(move || {
                    for item in 0..2 {
                        assert!(producer.put(item));
                        producer.publish();
                        if producer.must_wake() {
                            *bell.rung.lock().unwrap() = true;
                            bell.changed.notify_one();
                        }
                    }
                })
            };
            let mut taken = 0;
            // Would a wake-up be lost, the wait would never end, and loom reports a deadlock.
            while taken < 2 {
                while consumer.take().is_some() {
                    taken += 1;
                }
                consumer.release();
                if taken < 2 && consumer.arm() {
                    let mut rung = bell.rung.lock().unwrap();
                    while !*rung {
                        rung = bell.changed.wait(rung).unwrap();
                    }
                    *rung = false;
                    drop(rung);
                    consumer.disarm();
                }
            }
            thread.join().unwrap();
        });
    }
}
