//! The simulated machine behaves as Xen does, seen from its processes.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use super::*;
use crate::seam::Access;
use crate::{CopyOp, EventPort, GrantRef, GrantStatus};

const GUEST: DomId = DomId(7);

fn machine() -> (Machine, SimDomain, SimDomain) {
    let machine = Machine::temporary().unwrap();
    let control = SimDomain::control(machine.dir());
    let guest = SimDomain::guest(machine.dir(), GUEST, 64).unwrap();
    (machine, control, guest)
}

fn word(shared: &crate::Shared, at: usize) -> &AtomicU32 {
    assert!(at * 4 < shared.len());
    // SAFETY: within the mapping, aligned; all access in these tests is atomic.
    unsafe { AtomicU32::from_ptr(shared.base().as_ptr().cast::<u32>().add(at)) }
}

#[test]
fn a_mapped_grant_is_the_same_memory_and_cannot_be_revoked() {
    let (machine, control, guest) = machine();
    let (page, refs) = guest.allocator().unwrap().share(DomId::ZERO, 2, Access::Write).unwrap();
    let grants = control.grants().unwrap();
    let mapped = grants.map(GUEST, &refs, Access::Write).unwrap();
    word(&page, 1024).store(0x1234, SeqCst);
    assert_eq!(word(&mapped, 1024).load(SeqCst), 0x1234);
    word(&mapped, 0).store(99, SeqCst);
    assert_eq!(word(&page, 0).load(SeqCst), 99);
    let mut toolstack = machine.toolstack().unwrap();
    assert_eq!(toolstack.mapped_by(DomId::ZERO).unwrap(), 2);
    let memory = guest.memory().unwrap();
    assert!(!memory.revoke(refs[0]), "a mapped grant was revoked");
    drop(mapped);
    assert_eq!(toolstack.mapped_by(DomId::ZERO).unwrap(), 0);
    assert!(memory.revoke(refs[0]));
}

#[test]
fn what_was_not_granted_is_not_mapped_and_leaves_nothing_mapped() {
    let (machine, control, guest) = machine();
    let (_page, refs) = guest.allocator().unwrap().share(DomId::ZERO, 1, Access::Read).unwrap();
    let grants = control.grants().unwrap();
    let status = |domain, refs: &[GrantRef], access| match grants.map(domain, refs, access) {
        Err(XenError::Map { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(GUEST, &[refs[0], GrantRef(100_000)], Access::Read), GrantStatus::BAD_GREF);
    assert_eq!(status(GUEST, &refs, Access::Write), GrantStatus::GENERAL_ERROR);
    assert_eq!(status(GUEST, &[GrantRef(9)], Access::Read), GrantStatus::GENERAL_ERROR);
    assert_eq!(status(DomId(99), &refs, Access::Read), GrantStatus::BAD_DOMAIN);
    assert_eq!(machine.toolstack().unwrap().mapped_by(DomId::ZERO).unwrap(), 0);
}

#[test]
fn copies_go_both_ways_and_between_guests_and_tell_each_its_status() {
    let (machine, control, guest) = machine();
    let other = SimDomain::guest(machine.dir(), DomId(8), 16).unwrap();
    let (page, refs) = guest.allocator().unwrap().share(DomId::ZERO, 1, Access::Write).unwrap();
    let (theirs, their_refs) = other.allocator().unwrap().share(DomId::ZERO, 1, Access::Write).unwrap();
    let (readonly, readonly_refs) = other.allocator().unwrap().share(DomId::ZERO, 1, Access::Read).unwrap();
    let mut grants = control.grants().unwrap();
    let text = *b"guest memory";
    let mut back = [0u8; 12];
    // SAFETY: both buffers live until the call below.
    let mut ops = unsafe {
        [
            CopyOp::to_grant(text.as_ptr(), GUEST, refs[0], 100, 12),
            CopyOp::between((GUEST, refs[0], 100), (DomId(8), their_refs[0], 4084), 12),
            CopyOp::from_grant(DomId(8), their_refs[0], 4084, back.as_mut_ptr(), 12),
            CopyOp::to_grant(text.as_ptr(), DomId(8), readonly_refs[0], 0, 12),
            CopyOp::to_grant(text.as_ptr(), GUEST, GrantRef(60_000), 0, 12),
            CopyOp::to_grant(text.as_ptr(), DomId(5), refs[0], 0, 12),
        ]
    };
    grants.copy(&mut ops).unwrap();
    let statuses: Vec<i16> = ops.iter().map(|op| op.status().0).collect();
    assert_eq!(statuses, [0, 0, 0, -1, -3, -2]);
    assert_eq!(back, text);
    assert_eq!(word(&page, 25).load(SeqCst), u32::from_le_bytes(*b"gues"));
    assert_eq!(word(&theirs, 1021).load(SeqCst), u32::from_le_bytes(*b"gues"));
    assert_eq!(word(&readonly, 0).load(SeqCst), 0);
    assert_eq!(control.copies(), (1, 6));
    // SAFETY: as above.
    let mut ops = unsafe { [CopyOp::to_grant(text.as_ptr(), GUEST, refs[0], 4090, 12)] };
    assert!(grants.copy(&mut ops).is_err(), "a copy left its page");
    drop((page, guest));
    // SAFETY: as above.
    let mut ops = unsafe { [CopyOp::to_grant(text.as_ptr(), GUEST, refs[0], 0, 12)] };
    std::thread::sleep(Duration::from_millis(50));
    grants.copy(&mut ops).unwrap();
    assert_eq!(ops[0].status(), GrantStatus::BAD_DOMAIN);
}

fn fired(events: &mut Box<dyn Events>) -> Vec<u32> {
    let mut poll = libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&events.fd()), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, 200) };
    let mut ports = [EventPort(0); 8];
    let n = events.fired(&mut ports).unwrap();
    ports[..n].iter().map(|port| port.0).collect()
}

#[test]
fn a_channel_fires_once_until_unmasked_and_loses_nothing() {
    let (machine, control, guest) = machine();
    let (mut ours, mut theirs) = (control.events().unwrap(), guest.events().unwrap());
    let offered = theirs.offer(DomId::ZERO).unwrap();
    let bound = ours.bind(GUEST, offered).unwrap();
    assert!(ours.bind(GUEST, offered).is_err(), "a channel was bound twice");
    assert_eq!(fired(&mut ours), [bound.0], "binding fires once");
    theirs.notify(offered).unwrap();
    theirs.notify(offered).unwrap();
    assert_eq!(fired(&mut ours), [] as [u32; 0], "a masked channel fired");
    ours.unmask(&[bound]).unwrap();
    assert_eq!(fired(&mut ours), [bound.0]);
    ours.unmask(&[bound]).unwrap();
    assert_eq!(fired(&mut ours), [] as [u32; 0]);
    ours.notify(bound).unwrap();
    assert_eq!(fired(&mut theirs), [offered.0]);
    // The backend dies, another takes its place.
    drop(ours);
    let mut ours = control.events().unwrap();
    let again = loop {
        if let Ok(port) = ours.bind(GUEST, offered) {
            break port;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(fired(&mut ours), [again.0]);
    let mut toolstack = machine.toolstack().unwrap();
    assert_eq!((toolstack.channels_of(DomId::ZERO).unwrap(), toolstack.channels_of(GUEST).unwrap()), (1, 1));
    ours.unbind(again).unwrap();
    assert_eq!(toolstack.channels_of(DomId::ZERO).unwrap(), 0);
}

#[test]
fn unmapping_clears_the_byte_and_wakes_the_peer_even_by_death() {
    let (_machine, control, guest) = machine();
    let (page, refs) = guest.allocator().unwrap().share(DomId::ZERO, 1, Access::Write).unwrap();
    let (mut ours, mut theirs) = (control.events().unwrap(), guest.events().unwrap());
    let offered = theirs.offer(DomId::ZERO).unwrap();
    let bound = ours.bind(GUEST, offered).unwrap();
    let grants = control.grants().unwrap();
    let mut mapped = grants.map(GUEST, &refs, Access::Write).unwrap();
    // SAFETY: within the page.
    let byte = unsafe { AtomicU8::from_ptr(page.base().as_ptr().add(5)) };
    byte.store(1, SeqCst);
    mapped.on_unmap(5, Some(bound)).unwrap();
    assert!(mapped.on_unmap(4096, None).is_err());
    drop(mapped);
    assert_eq!(fired(&mut theirs), [offered.0]);
    assert_eq!(byte.load(SeqCst), 0);
}

#[test]
fn a_dead_domain_is_a_zombie_until_it_is_unmapped() {
    let (machine, control, guest) = machine();
    let (page, refs) = guest.allocator().unwrap().share(DomId::ZERO, 1, Access::Write).unwrap();
    let mapped = control.grants().unwrap().map(GUEST, &refs, Access::Write).unwrap();
    word(&page, 0).store(7, SeqCst);
    let mut toolstack = machine.toolstack().unwrap();
    toolstack.store.watch("@releaseDomain", "gone").unwrap();
    assert!(toolstack.store.wait_event(Duration::from_secs(2)).unwrap().is_some());
    drop(page);
    drop(guest);
    let event = toolstack.store.wait_event(Duration::from_secs(2)).unwrap().unwrap();
    assert_eq!(event.path, "@releaseDomain");
    assert_eq!(toolstack.zombies().unwrap(), 1);
    assert_eq!(word(&mapped, 0).load(SeqCst), 7, "what is mapped stays");
    drop(mapped);
    assert_eq!(toolstack.zombies().unwrap(), 0);
}

#[test]
fn the_store_keeps_events_that_come_while_an_answer_is_awaited() {
    let (machine, control, guest) = machine();
    let mut toolstack = machine.toolstack().unwrap();
    toolstack.add_vif(GUEST, 0, &[("vlan", "12")]).unwrap();
    let mut ours = control.xenstore().unwrap();
    let state = Toolstack::frontend_path(GUEST, 0) + "/state";
    ours.watch(&state, "fe").unwrap();
    assert_eq!(ours.wait_event(Duration::from_secs(1)).unwrap().unwrap().token, "fe");
    let mut theirs = guest.xenstore().unwrap();
    theirs.write("device/vif/0/state", "4").unwrap();
    theirs.write("device/vif/0/state", "5").unwrap();
    // These answers come after the events.
    assert_eq!(ours.read(&state).unwrap(), b"5");
    assert!(ours.has_events());
    assert_eq!(ours.next_event().unwrap().unwrap().path, state);
    assert_eq!(theirs.read(&(Toolstack::backend_path(GUEST, 0) + "/vlan")).unwrap(), b"12");
    assert!(theirs.write(&(Toolstack::backend_path(GUEST, 0) + "/mac"), "x").unwrap_err().is_store("EACCES"));
    assert!(theirs.get("device/vif/1").unwrap().is_none());
    assert_eq!(ours.list("/local/domain/0/backend/vif").unwrap(), ["7"]);
    toolstack.finish_detach(GUEST, 0).unwrap();
    while ours.read(&state).is_ok() {}
    assert_eq!(ours.wait_event(Duration::from_secs(1)).unwrap().map(|e| e.path), Some(state));
}

#[test]
fn transactions_are_whole_or_not_at_all() {
    let (machine, control, _guest) = machine();
    let (mut a, mut b) = (control.xenstore().unwrap(), machine.toolstack().unwrap().store);
    a.write("/counter", "0").unwrap();
    let mut tries = 0;
    a.transaction(|t| {
        tries += 1;
        let n: u32 = String::from_utf8(t.get("/counter")?.unwrap()).unwrap().parse().unwrap();
        if tries == 1 {
            // Somebody else gets in between.
            b.write("/counter", "10")?;
        }
        t.write("/counter", (n + 1).to_string())?;
        t.write("/also/this", "")
    })
    .unwrap();
    assert_eq!((tries, b.read("/counter").unwrap()), (2, b"11".to_vec()));
    let failed: Result<(), _> = a.transaction(|t| {
        t.write("/counter", "99")?;
        Err(XenError::StoreProtocol("changed my mind"))
    });
    assert!(failed.is_err());
    assert_eq!(b.read("/counter").unwrap(), b"11");
}

#[test]
fn a_node_that_goes_while_a_transaction_looks_at_it_does_not_come_back() {
    let (machine, control, _guest) = machine();
    let (mut a, mut b) = (control.xenstore().unwrap(), machine.toolstack().unwrap().store);
    a.write("/device/state", "1").unwrap();
    let mut tries = 0;
    a.transaction(|t| {
        tries += 1;
        // Begun, and nothing looked at yet.
        if tries == 1 {
            b.remove("/device")?;
        }
        match t.get("/device/state")? {
            Some(_) => t.write("/device/state", "2"),
            None => Ok(()),
        }
    })
    .unwrap();
    assert_eq!((tries, b.get("/device").unwrap()), (2, None));
}

#[test]
fn a_long_directory_comes_in_parts() {
    let (_machine, control, _guest) = machine();
    let mut store = control.xenstore().unwrap();
    for i in 0..500 {
        store.write(&format!("/many/child-number-{i:04}"), "").unwrap();
    }
    let names = store.list("/many").unwrap();
    assert_eq!(names.len(), 500);
    assert_eq!(names[499], "child-number-0499");
}
