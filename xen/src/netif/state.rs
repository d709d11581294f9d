//! What the backend does when a state changes: a decision of four inputs, nothing more.
//!
//! The two ends meet through two numbers in the store. The guest may write any number at any time, in any order; so may a
//! toolstack. The decision is made from what is there *now*, is the same however often it is asked, and knows no history
//! but whether we are attached.

/// A `XenbusState` (`public/io/xenbus.h`).
#[allow(missing_docs, reason = "the names are the header's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    Unknown = 0,
    Initialising = 1,
    InitWait = 2,
    Initialised = 3,
    Connected = 4,
    Closing = 5,
    Closed = 6,
    Reconfiguring = 7,
    Reconfigured = 8,
}

impl State {
    /// From a node's value; none where it is no state.
    pub fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"0" => Self::Unknown,
            b"1" => Self::Initialising,
            b"2" => Self::InitWait,
            b"3" => Self::Initialised,
            b"4" => Self::Connected,
            b"5" => Self::Closing,
            b"6" => Self::Closed,
            b"7" => Self::Reconfiguring,
            b"8" => Self::Reconfigured,
            _ => return None,
        })
    }

    /// As a node's value.
    pub fn as_str(self) -> &'static str {
        ["0", "1", "2", "3", "4", "5", "6", "7", "8"][self as usize]
    }
}

/// What the store says of an interface, and whether we are attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// `state` of the backend's part; none where there is no such node.
    pub back: Option<State>,
    /// `online` of the backend's part.
    pub online: bool,
    /// `state` of the frontend's part; none where it is missing or no state.
    pub front: Option<State>,
    /// We have its rings mapped.
    pub attached: bool,
    /// It broke the protocol, and must close before it may come again.
    pub broken: bool,
    /// What stands in the store as an offer is ours, not that of a backend before us.
    pub offered: bool,
}

/// What to do. Afterwards the situation is looked at again, until it is [`Rest`](Self::Rest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Rest,
    /// Say what we can, then write `InitWait`.
    Offer,
    /// Map the rings, then write `Connected`.
    Connect,
    /// Map the rings of a guest whose backend died, and write nothing: it never noticed.
    TakeOver,
    /// Let go of the rings, then write this, where given.
    Detach(Option<State>),
    /// Write this.
    Write(State),
    /// Answer a request to read its settings again.
    Reconfigure,
    /// The interface was removed: let go and forget it.
    Forget,
}

/// Decides.
pub fn decide(now: Situation) -> Action {
    use State::{
        Closed, Closing, Connected, InitWait, Initialised, Initialising, Reconfigured, Reconfiguring, Unknown,
    };
    let Some(back) = now.back else { return Action::Forget };
    let gone = matches!(now.front, None | Some(Unknown | Closed));
    if now.attached {
        return match now.front {
            _ if now.broken => Action::Detach(Some(Closing)),
            Some(Connected) => match back {
                Connected | Closing => Action::Rest,
                _ => Action::Write(Connected),
            },
            Some(Reconfiguring) if back == Connected => Action::Reconfigure,
            Some(Reconfiguring | Reconfigured) => Action::Rest,
            _ if gone => Action::Detach(Some(Closed)),
            // Closing, or a step backwards, which is as good as closing.
            _ => Action::Detach(Some(Closing)),
        };
    }
    match (back, now.front) {
        // Nobody is there, or he is on his way out.
        (Closed, Some(Initialising)) if now.online && !now.broken => Action::Offer,
        (Closed, _) => Action::Rest,
        (Initialising | Unknown, _) if now.online => Action::Offer,
        // The toolstack wants it back. A guest that is still connected will close; one that never was need not.
        (Closing, Some(Connected)) if !now.broken && now.online => Action::Write(Closed),
        (Closing, Some(Connected)) if !now.broken => Action::Rest,
        (Closing, _) => Action::Write(Closed),
        (Connected | Reconfigured, Some(Connected)) if !now.broken => Action::TakeOver,
        (InitWait | Initialised, Some(Connected)) if !now.broken => Action::Connect,
        (InitWait, Some(Initialising)) if now.online && !now.offered => Action::Offer,
        (InitWait | Initialised, Some(Initialising | Initialised | InitWait)) if now.online => Action::Rest,
        (InitWait | Initialised, None | Some(Closed | Unknown)) => Action::Write(Closed),
        _ if gone => Action::Write(Closed),
        _ => Action::Write(Closing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    fn at(back: State, front: State, attached: bool) -> Situation {
        Situation { back: Some(back), online: true, front: Some(front), attached, broken: false, offered: true }
    }

    #[test]
    fn the_ordinary_life_of_an_interface() {
        assert_eq!(decide(at(Initialising, Initialising, false)), Action::Offer);
        assert_eq!(decide(at(InitWait, Initialising, false)), Action::Rest);
        assert_eq!(decide(at(InitWait, Connected, false)), Action::Connect);
        assert_eq!(decide(at(Connected, Connected, true)), Action::Rest);
        assert_eq!(decide(at(Connected, Closing, true)), Action::Detach(Some(Closing)));
        assert_eq!(decide(at(Closing, Closing, false)), Action::Write(Closed));
        assert_eq!(decide(at(Closed, Closing, false)), Action::Rest);
        assert_eq!(decide(at(Closed, Closed, false)), Action::Rest);
        assert_eq!(decide(at(Closed, Initialising, false)), Action::Offer);
    }

    #[test]
    fn a_new_backend_takes_over_what_is_connected() {
        assert_eq!(decide(at(Connected, Connected, false)), Action::TakeOver);
        assert_eq!(
            decide(at(InitWait, Connected, false)),
            Action::Connect,
            "the guest connected while nobody was there"
        );
        assert_eq!(decide(at(Connected, Closed, false)), Action::Write(Closed), "it closed while nobody was there");
        let stale = Situation { offered: false, ..at(InitWait, Initialising, false) };
        assert_eq!(decide(stale), Action::Offer, "what the one before could do may not be what we can");
    }

    #[test]
    fn the_toolstack_takes_it_away() {
        let mut now = at(Closing, Connected, true);
        now.online = false;
        assert_eq!(decide(now), Action::Rest, "the guest is to close first");
        now.front = Some(Closing);
        assert_eq!(decide(now), Action::Detach(Some(Closing)));
        now = Situation { attached: false, ..now };
        assert_eq!(decide(now), Action::Write(Closed));
        now = Situation { back: Some(Closing), front: None, attached: true, ..now };
        assert_eq!(decide(now), Action::Detach(Some(Closed)), "destroyed: the frontend's part is gone");
        now = Situation { back: Some(Closing), front: Some(Initialising), attached: false, ..now };
        assert_eq!(decide(now), Action::Write(Closed), "it never had a driver");
        now.back = None;
        assert_eq!(decide(now), Action::Forget);
    }

    #[test]
    fn whatever_the_states_are_it_comes_to_rest() {
        let states =
            [Unknown, Initialising, InitWait, Initialised, Connected, Closing, Closed, Reconfiguring, Reconfigured];
        for back in states {
            for front in states.map(Some).into_iter().chain([None]) {
                for bits in 0..16 {
                    let mut now = Situation {
                        back: Some(back),
                        front,
                        online: bits & 1 != 0,
                        attached: bits & 2 != 0,
                        broken: bits & 4 != 0,
                        offered: bits & 8 != 0,
                    };
                    let mut steps = 0;
                    loop {
                        match decide(now) {
                            Action::Rest | Action::Forget => break,
                            Action::Offer => (now.back, now.offered) = (Some(InitWait), true),
                            Action::Connect => (now.back, now.attached) = (Some(Connected), true),
                            Action::TakeOver => now.attached = true,
                            Action::Detach(to) => (now.back, now.attached) = (to.or(now.back), false),
                            Action::Write(to) => now.back = Some(to),
                            Action::Reconfigure => now.back = Some(Reconfigured),
                        }
                        steps += 1;
                        assert!(steps < 6, "no end from {back:?} {front:?} {bits:04b}");
                    }
                    assert!(
                        !(now.broken && now.attached),
                        "a broken guest stays attached: {back:?} {front:?} {bits:04b}"
                    );
                }
            }
        }
    }
}
