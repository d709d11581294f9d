//! `pointsman vxi` as a person or a script meets it: output, messages, exit status. Needs no privilege.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vxi(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("vxi/tests/data");
    command.arg("vxi").args(arguments).current_dir(data).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pointsman-vxi-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let file = self.0.join(name);
        std::fs::write(&file, content).expect("the file is written");
        file.to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FIG4: &str = include_str!("../vxi/tests/data/fig4.vxdl.xml");

#[test]
fn sound_descriptions_are_summed_up_a_line_each() {
    let done = vxi(&["validate", "fig4.vxdl.xml", "fig4.toml", "aurora.xml"]);
    let fig4 = "sound: 1 node, 1 storage, 2 routers, 3 arrays, 11 links, 3 events";
    let aurora = "aurora.xml: sound: 2 nodes, 1 router, 2 links";
    assert_eq!(text(&done.stdout), format!("fig4.vxdl.xml: {fig4}\nfig4.toml: {fig4}\n{aurora}\n"));
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
}

#[test]
fn mistakes_of_all_files_are_told_and_the_status_is_1() {
    let scratch = Scratch::new("mistakes");
    let first = scratch.file("a.xml", &FIG4.replace("<source>A</source>", "<source>Z</source>"));
    let second = scratch.file("b.toml", "id = \"b\"\nnode = 1\n");
    let done = vxi(&["validate", &first, &second, "fig4.toml", "absent.xml"]);
    let said = text(&done.stderr);
    assert!(said.contains("link A-B: source: there is no component \"Z\""), "{said}");
    assert!(said.contains("b.toml:2:8: infrastructure b: node is a whole number; write [[node]]"), "{said}");
    assert!(said.contains("absent.xml: infrastructure: cannot be read: No such file"), "{said}");
    assert!(text(&done.stdout).starts_with("fig4.toml: sound"), "{}", text(&done.stdout));
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn machines_are_told_in_json() {
    let scratch = Scratch::new("json");
    let file = scratch.file("a.xml", &FIG4.replace("<totalTime>PT5H", "<totalTime>P5M"));
    let done = vxi(&["validate", "--json", "fig4.toml", &file]);
    let all: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((all[0]["sound"].as_bool(), all[0]["id"].as_str()), (Some(true), Some("fig4")));
    let mistake = &all[1]["mistakes"][0];
    assert_eq!((mistake["line"].as_u64(), mistake["thing"].as_str()), (Some(6), Some("infrastructure fig4")));
    assert!(mistake["wrong"].as_str().is_some_and(|wrong| wrong.contains("no fixed length")), "{mistake}");
    assert!(mistake["excerpt"].as_str().is_some_and(|line| line.contains("P5M")), "{mistake}");
    assert_eq!(done.status.code(), Some(1));
}

#[test]
fn format_is_its_own_canonical_form() {
    let scratch = Scratch::new("format");
    let file = scratch.file("a.xml", FIG4);
    let done = vxi(&["format", "--check", &file]);
    assert_eq!((text(&done.stdout), done.status.code()), (format!("{file}: not canonical\n"), Some(1)));
    let printed = text(&vxi(&["format", &file]).stdout);

    let refused = vxi(&["format", "--write", &file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("it has 5 comments"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), FIG4, "what is refused is left alone");

    assert_eq!(vxi(&["format", "--write", "--drop-comments", &file]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), printed);
    let done = vxi(&["format", "--check", &file, "fig4.toml"]);
    assert_eq!((text(&done.stdout), done.status.code()), (String::new(), Some(0)));
    assert_eq!(std::fs::read_dir(&scratch.0).expect("the directory").count(), 1, "nothing is left beside it");
}

#[test]
fn a_dialect_that_is_only_read_is_converted_and_not_formatted() {
    let refused = vxi(&["format", "aurora.xml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("only read; convert it"), "{}", text(&refused.stderr));
    let done = vxi(&["convert", "--to", "vxdl", "aurora.xml"]);
    assert!(text(&done.stdout).contains("<key>source.interface</key>"), "{}", text(&done.stdout));
}

#[test]
fn both_syntaxes_are_converted_into_each_other() {
    let toml = vxi(&["convert", "--to", "toml", "fig4.vxdl.xml"]);
    assert_eq!(text(&toml.stdout), include_str!("../vxi/tests/data/fig4.toml"));
    let there = vxi(&["convert", "--to", "vxdl", "fig4.toml"]);
    assert_eq!(text(&there.stdout), text(&vxi(&["format", "fig4.vxdl.xml"]).stdout));
}

#[test]
fn graphs_are_drawn_in_three_languages() {
    let dot = text(&vxi(&["graph", "--to", "dot", "fig4.toml"]).stdout);
    assert!(dot.starts_with("digraph \"fig4\" {\n"), "{dot}");
    assert!(dot.contains("label=\"A-B (D)\\nI: ≥ 900 Mbps\\n≤ 5 ms\", headlabel=\"1\""), "{dot}");
    let mermaid = text(&vxi(&["graph", "--to", "mermaid", "fig4.toml"]).stdout);
    assert!(mermaid.contains("n4 <-->|\"C-I (G)<br/>II: ≥ 100 Mbps<br/>≤ 2 ms\"| n5"), "{mermaid}");
    let svg = text(&vxi(&["graph", "fig4.vxdl.xml"]).stdout);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for written in [">C × 4<", ">I: ≥ 900 Mbps<", ">≤ 2 ms<"] {
        assert!(svg.contains(written), "{written}: {svg}");
    }
}

#[test]
fn what_is_not_understood_has_status_2() {
    for arguments in [&[][..], &["validate"], &["convert", "fig4.toml"], &["graph", "--to", "png", "fig4.toml"]] {
        let done = vxi(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
}
