//! The syntaxes of an infrastructure: VXDL 2.0, the dialect of the Aurora cloud manager, and a short one in TOML.
//!
//! All are read into the same model and checked by the same checks. Which one a file is in is told by its content,
//! because nobody names files as he should. Reading never panics, whatever the text: `tests/fuzz` holds it to that.

pub mod brief;
mod order;
mod units;
pub mod vxdl;
mod words;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::check;
use crate::diagnostic::{Diagnostics, Mistakes};
use crate::model::VirtualInfrastructure;
use vxdl::element::Dialect;

/// The largest file that is read.
pub const MAX_FILE: u64 = 1 << 30;

/// A syntax of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// VXDL 2.0.
    Vxdl,
    /// The dialect of the Aurora cloud manager, which is read and not written.
    Aurora,
    /// The short one.
    Toml,
}

impl Syntax {
    /// As the command calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxdl => "vxdl",
            Self::Aurora => "aurora",
            Self::Toml => "toml",
        }
    }

    /// The syntax that a text is in: XML begins with `<`, and Aurora's dialect has a root that VXDL 2.0 has not.
    pub fn of(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii_start();
        if !text.starts_with('<') {
            return Self::Toml;
        }
        match vxdl::document::root_name(text) {
            Some("virtualInfrastructure") => Self::Aurora,
            _ => Self::Vxdl,
        }
    }

    /// Writes an infrastructure in its canonical form; none: this syntax is only read.
    pub fn write(self, infrastructure: &VirtualInfrastructure) -> Option<String> {
        match self {
            Self::Vxdl => Some(vxdl::write(infrastructure)),
            Self::Toml => Some(brief::write(infrastructure)),
            Self::Aurora => None,
        }
    }
}

/// A file that was read and is sound.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// All of it.
    pub text: String,
    /// The syntax that it is in.
    pub syntax: Syntax,
    /// What it says.
    pub infrastructure: VirtualInfrastructure,
}

impl Source {
    /// Reads a file and checks it.
    ///
    /// # Errors
    /// It cannot be read, or every mistake that is in it.
    pub fn load(file: &Path) -> Result<Self, Diagnostics> {
        let text = text_of(file)?;
        let infrastructure = parse(&text, file)?;
        Ok(Self { file: file.to_owned(), syntax: Syntax::of(&text), text, infrastructure })
    }

    /// The canonical text of the file in its own syntax.
    ///
    /// # Errors
    /// The syntax is one that is only read.
    pub fn canonical(&self) -> Result<String, Diagnostics> {
        self.syntax.write(&self.infrastructure).ok_or_else(|| {
            let wrong = "is in Aurora's dialect, which is only read";
            Diagnostics::unreadable(&self.file, wrong, "convert it: pointsman vxi convert --to vxdl or toml")
        })
    }

    /// How many comments it has, which no canonical form keeps.
    pub fn comments(&self) -> usize {
        match self.syntax {
            Syntax::Vxdl | Syntax::Aurora => vxdl::document::comments(&self.text),
            Syntax::Toml => brief::comments(&self.text),
        }
    }
}

/// Reads a file in any of the syntaxes, and checks it.
///
/// # Errors
/// It cannot be read, or every mistake that is in it.
pub fn load(file: &Path) -> Result<VirtualInfrastructure, Diagnostics> {
    parse(&text_of(file)?, file)
}

fn text_of(file: &Path) -> Result<String, Diagnostics> {
    const GIVE: &str = "give the path of a file in VXDL or TOML";
    let unreadable = |wrong: String, remedy: &str| Diagnostics::unreadable(file, wrong, remedy);
    let size = fs::metadata(file).map_err(|e| unreadable(format!("cannot be read: {e}"), GIVE))?;
    if size.is_dir() {
        return Err(unreadable("is not a file".into(), GIVE));
    }
    if size.len() > MAX_FILE {
        return Err(unreadable(format!("has {} bytes", size.len()), "keep it below 1 GiB, or use arrays"));
    }
    let bytes = fs::read(file).map_err(|e| unreadable(format!("cannot be read: {e}"), GIVE))?;
    String::from_utf8(bytes)
        .map_err(|e| unreadable(format!("is not UTF-8: {}", e.utf8_error()), "save it as UTF-8 text"))
}

/// Reads an infrastructure from its text, in any of the syntaxes, and checks it; `file` is what messages call it.
///
/// # Errors
/// Every mistake that is in it.
pub fn parse(text: &str, file: &Path) -> Result<VirtualInfrastructure, Diagnostics> {
    let dialect = match Syntax::of(text) {
        Syntax::Toml => return checked(brief::read(text, file)),
        Syntax::Vxdl => Dialect::Forum,
        Syntax::Aurora => Dialect::Aurora,
    };
    let document = vxdl::tree::Tree::read(text, file)?;
    checked(vxdl::read(&document, text, file, dialect))
}

fn checked(
    (mut infrastructure, mut mistakes): (VirtualInfrastructure, Mistakes<'_>),
) -> Result<VirtualInfrastructure, Diagnostics> {
    order::put_in_order(&mut infrastructure);
    check::check_into(&infrastructure, &mut mistakes);
    match mistakes.finish() {
        None => Ok(infrastructure),
        Some(diagnostics) => Err(diagnostics),
    }
}

/// Replaces a file as a whole: who reads it meanwhile sees the old or the new one, and a crash leaves one of them.
///
/// # Errors
/// The new file cannot be written beside it, or not take its place.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays a link: what it leads to is replaced.
    let file = fs::canonicalize(file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let written = fs::File::create_new(&beside).and_then(|mut new| {
        new.set_permissions(fs::metadata(&file)?.permissions())?;
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&beside, &file));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}
