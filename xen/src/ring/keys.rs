//! What the agent writes of its pages, and what the backend answers.

use pointsman_dataplane::memif::foreign::Geometry;

use crate::netif::keys::{KeyError, Paths, decimal, require, require_u32, write_if_there, wrong};
use crate::xenstore::Xenstore;
use crate::{EventPort, GrantRef, PAGE, XenError};

/// The backend's key that says that it knows of rings.
pub(crate) const FEATURE: &str = "feature-pointsman-ring";
/// The agent's directory, and the backend's key that answers it.
pub(crate) const RING: &str = "pointsman-ring";

/// Grants that one directory page lists.
pub(super) const LISTED: usize = PAGE / 4;
/// Most pages of a ring: 64 MiB and the control page.
const MOST_PAGES: u32 = (1 << 14) + 1;

/// Directory pages for so many pages.
pub(super) fn directory_pages(pages: usize) -> usize {
    pages.div_ceil(LISTED)
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) directory: Vec<GrantRef>,
    /// With the control page.
    pub(super) pages: usize,
    pub(super) geometry: Geometry,
    pub(super) event: EventPort,
    pub(super) session: u32,
}

impl Announcement {
    /// Writes it below `front`, the agent's part of the vif, at once.
    pub(super) fn write(&self, store: &mut Xenstore, front: &str) -> Result<(), XenError> {
        let directory: Vec<_> = self.directory.iter().map(ToString::to_string).collect();
        let keys = [
            ("version", "1".to_owned()),
            ("directory", directory.join(" ")),
            ("pages", self.pages.to_string()),
            ("log2-ring-size", self.geometry.log2_size.to_string()),
            ("buffer-size", self.geometry.buffer_size.to_string()),
            ("event-channel", self.event.to_string()),
            ("session", self.session.to_string()),
        ];
        store.transaction(|t| keys.iter().try_for_each(|(key, value)| t.write(&format!("{front}/{RING}/{key}"), value)))
    }

    /// Reads it; each key once.
    pub(super) fn read(store: &mut Xenstore, front: &str, session: u32) -> Result<Self, KeyError> {
        let path = |key: &str| format!("{front}/{RING}/{key}");
        let number = |store: &mut Xenstore, key: &str, least: u32, most: u32, want| match require_u32(store, path(key))?
        {
            n if (least..=most).contains(&n) => Ok(n),
            n => Err(wrong(path(key), n.to_string().as_bytes(), want)),
        };
        number(store, "version", 1, 1, "1")?;
        let pages = number(store, "pages", 2, MOST_PAGES, "2 to 16385")? as usize;
        let listed = require(store, &path("directory"))?;
        let parsed = listed.split(|byte| *byte == b' ').map(|text| decimal(text, u32::MAX.into()));
        let directory: Option<Vec<_>> = parsed.map(|n| n.map(|n| GrantRef(n as u32))).collect();
        let directory = directory.filter(|directory| directory.len() == directory_pages(pages));
        Ok(Self {
            directory: directory.ok_or_else(|| wrong(path("directory"), &listed, "a grant for each 1024 pages"))?,
            pages,
            geometry: Geometry {
                log2_size: number(store, "log2-ring-size", 1, 14, "1 to 14")? as u8,
                buffer_size: number(store, "buffer-size", 64, 1 << 16, "64 to 65536")?,
            },
            event: EventPort(require_u32(store, path("event-channel"))?),
            session,
        })
    }
}

/// The session that the agent announces, if it does.
pub(super) fn session(store: &mut Xenstore, front: &str) -> Result<Option<u32>, XenError> {
    let value = store.get(&format!("{front}/{RING}/session"))?;
    Ok(value.and_then(|value| decimal(&value, u32::MAX.into())).map(|n| n as u32).filter(|n| *n != 0))
}

/// What the backend says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing, or something of another.
    None,
    Served,
    Refused(String),
}

/// Answers a session.
pub(super) fn answer(store: &mut Xenstore, paths: &Paths, session: u32, refusal: Option<&str>) -> Result<(), XenError> {
    let said = refusal.map_or_else(|| session.to_string(), |why| format!("{session} {why}"));
    write_if_there(store, paths, &format!("{}/{RING}", paths.back), &said)
}

/// Reads the answer to `session`.
pub(super) fn answered(store: &mut Xenstore, back: &str, session: u32) -> Result<Answer, XenError> {
    let Some(said) = store.get(&format!("{back}/{RING}"))? else { return Ok(Answer::None) };
    let said = String::from_utf8_lossy(&said);
    let (number, why) = said.split_once(' ').unwrap_or((&said, ""));
    Ok(match (number == session.to_string(), why) {
        (false, _) => Answer::None,
        (true, "") => Answer::Served,
        (true, why) => Answer::Refused(why.into()),
    })
}
