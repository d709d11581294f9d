//! Mistakes of every kind, one at a time in a sound file: each is told at its line, and what it says can be acted on.

use std::path::Path;

use pointsman_vxi::{Diagnostics, parse};

const SOUND: &str = include_str!("data/sound.vxdl.xml");

/// What is right, what stands there instead, the line, what is said of it, and what to do.
type Seeded = (&'static str, &'static str, u32, &'static str, &'static str);

const SEEDED: &[Seeded] = &[
    // XML itself.
    ("</virtualInfrastructure>\n</description>", "", 67, "ends within an element", "add what is cut off"),
    ("</cores>", "</core>", 15, "</core> closes <cores>", "</cores>"),
    ("<id>n1</id>", "<id>&n1;</id>", 9, "&n1; is unknown", "&amp;"),
    ("<id>n1</id>", "<id>n&1</id>", 9, "&", "&amp;"),
    ("<id>n1</id>", "<id n=1>n1</id>", 9, "not well-formed", "repair"),
    (
        "<description ",
        "<!DOCTYPE d [<!ENTITY a \"b\">]>\n<description ",
        2,
        "document type",
        "take the document type out",
    ),
    ("<id>n1</id>", "<id>n\u{1}1</id>", 9, "not well-formed", "repair"),
    // Elements and attributes.
    ("xmlns=\"http://www.vxdlforum.org/vxdl\"", "", 2, "in no namespace", "xmlns="),
    ("xmlns=\"http://www.vxdlforum.org/vxdl\"", "xmlns=\"http://x\"", 2, "another language", "xmlns="),
    (
        "<cardinality>8</cardinality>",
        "<a:b xmlns:a=\"x\"/><cardinality>8</cardinality>",
        39,
        "another language",
        "take it out",
    ),
    ("<vStorage>", "<vStore/><vStorage>", 22, "there is no <vStore>", "did you mean <vStorage>?"),
    ("<protocol>tcp</protocol>", "<color/>", 35, "there is no <color> in <nat>", "inPort"),
    ("<vStorage>", "<vStorage id=\"s1\">", 22, "has an attribute \"id\"", "element within"),
    ("<vStorage>", "<vStorage>big", 22, "text \"big\" within <vStorage>", "take it out"),
    ("<id>n1</id>", "<id>n1<b/></id>", 9, "there is no <b> in <id>", "nothing may be within"),
    ("<id>s1</id>", "", 22, "<vStorage> has no id", "add an <id>"),
    ("<id>s1</id>", "<id> </id>", 23, "<id> is empty", "give it a value"),
    ("<id>s1</id>", "<id>s1</id><id>s2</id>", 23, "a second <id>", "keep one"),
    ("<source>r1</source>", "", 52, "<vLink> has no source", "add a <source>"),
    (
        "<latency>",
        "<bandwidth><reverse><unit>bps</unit><simple>1</simple></reverse></bandwidth><latency>",
        50,
        "a second <bandwidth>",
        "keep one",
    ),
    ("<cardinality>8</cardinality>", "", 37, "has no cardinality", "add a <cardinality>"),
    (
        "<event><id>II</id><delay>3600</delay></event>",
        "<event><id>II</id></event>",
        66,
        "has no delay",
        "add a <delay>",
    ),
    // Words and numbers.
    ("<exclusivity>true", "<exclusivity>yes", 11, "<exclusivity> is \"yes\"", "true or false"),
    ("2009-10-12T08", "2009-13-12T08", 6, "no date and time", "2009-10-12T08:00:00Z"),
    ("PT5H", "five hours", 7, "no duration", "PT5H"),
    ("PT5H", "P1M", 7, "no fixed length", "P30D"),
    ("PT5H", "PT0S", 7, "total time is 0", "how long it lasts"),
    ("<cardinality>8", "<cardinality>0", 39, "<cardinality> is \"0\", which is no whole number from 1", "from 1"),
    ("<cardinality>8", "<cardinality>-8", 39, "is below zero", "from 0 on"),
    ("<cardinality>8", "<cardinality>1.5", 39, "no whole number", "whole number"),
    ("<rtSize>4", "<rtSize>0", 30, "has room for 0 routes", "raise rtSize"),
    ("<inPort>80<", "<inPort>80000<", 35, "no whole number from 1 to 65535", "1 to 65535"),
    ("<inPort>80<", "<inPort>0<", 35, "no whole number from 1 to 65535", "1 to 65535"),
    // Capacities and units.
    ("<unit>GB</unit>", "<unit>GX</unit>", 14, "unknown unit \"GX\"", "GB"),
    ("<unit>GB</unit>", "<unit>gb</unit>", 14, "unknown unit \"gb\"", "did you mean GB?"),
    ("<unit>GB</unit>", "<unit>Mbps</unit>", 14, "one of bandwidth, not of size", "give one of"),
    ("<unit>GB</unit>", "", 14, "without a unit", "give one of"),
    ("<cores>", "<cores><unit>GHz</unit>", 15, "a bare number", "take the unit out"),
    ("<min>2</min>", "<min>two</min>", 14, "is not a number", "decimal number"),
    ("<min>2</min>", "<min>-2</min>", 14, "below zero", "from 0 on"),
    ("<min>2</min>", "<min>INF</min>", 14, "not finite", "leave the bound out"),
    ("<min>2</min>", "<min>1e30</min>", 14, "too large", "write less"),
    ("<min>2</min>", "<min>0.0000000001</min>", 14, "finer than the smallest unit", "round it"),
    ("<min>2</min>", "<min>8</min>", 14, "is above its most", "swap them"),
    ("<step>0.5</step>", "<step>0</step>", 15, "its step is 0", "above 0"),
    ("<step>0.5</step>", "", 15, "has no <step>", "<min>, <max> and <step>"),
    ("<min>2</min><max>4</max>", "", 14, "has no bound", "add <min>, <max>"),
    ("<cores><simple>2</simple>", "<cores>", 15, "has no amount", "add <simple>"),
    ("<cores><simple>2</simple>", "<cores><simple>2</simple><set>3</set>", 15, "more than one amount", "keep one"),
    (
        "<cores><simple>2</simple></cores>",
        "<cores><simple>2</simple></cores><cores><simple>3</simple></cores>",
        15,
        "a second value without an event",
        "one value for each period",
    ),
    (
        "<vNode><id>c-node</id></vNode>",
        "<vNode><id>c-node</id><memory><unit>TB</unit><simple>9000000</simple></memory></vNode>",
        40,
        "all 8 elements together",
        "lower it",
    ),
    // Names.
    ("<id>n2</id>", "<id>n1</id>", 18, "the node (line 9) has the same id", "id of its own"),
    ("<id>s1</id>", "<id>s 1</id>", 23, "has a space", "- or _"),
    ("<id>s1</id>", "<id>c-node[3]</id>", 23, "an element of the array's member", "id of its own"),
    ("<source>n1</source>", "<source>n9</source>", 45, "no component \"n9\"", "did you mean \"n"),
    ("<source>n1</source>", "<source>l3</source>", 45, "is a link", "the component"),
    (
        "<destination>s1</destination>",
        "<destination>nowhere-at-all</destination>",
        62,
        "no component \"nowhere-at-all\"",
        "add it",
    ),
    ("<destination>n2</destination>", "<destination>r1</destination>", 57, "both ends are \"r1\"", "two components"),
    ("<event>I</event>", "<event>IV</event>", 48, "no event \"IV\"", "did you mean"),
    ("<vLinkIn>l1", "<vLinkIn>l9", 30, "no link \"l9\"", "did you mean"),
    ("<vLinkOut>l2", "<vLinkOut>n2", 30, "is a node", "name a link"),
    ("<loadBalancer><inEndpoint>n1", "<loadBalancer><inEndpoint>l1", 34, "is a link", "behind it"),
    // Anchors.
    (
        "<location>lyon.site</location>",
        "<location>n1</location>",
        10,
        "anchors have a cycle: \"n1\" at \"n2\" at \"n1\"",
        "at a site",
    ),
    ("<location>n2</location>", "<location>n1</location>", 10, "cycle: \"n1\" at \"n1\"", "at a site"),
    ("<location>n2</location>", "<location>c</location>", 10, "an array", "single component"),
    ("<location>n2</location>", "<location>l1</location>", 10, "a link, which has no place", "single component"),
    ("<location>n2</location>", "<location>c-node</location>", 10, "a member of an array", "single component"),
    ("<location>lyon</location>", "<location>s1</location>", 5, "one of its own components", "name a site"),
    // Time.
    ("<totalTime>PT1H</totalTime>", "<totalTime>PT6H</totalTime>", 20, "after the infrastructure", "end earlier"),
    (
        "<totalTime>PT1H</totalTime>",
        "<startDate>2009-10-12T07:00:00Z</startDate>",
        20,
        "before the infrastructure",
        "start later",
    ),
    ("<totalTime>PT1H</totalTime>", "<startDate>2009-10-12T14:00:00Z</startDate>", 20, "has ended", "start earlier"),
    ("PT5H", "P100000D", 7, "after the year 2262", "shorter"),
    ("<delay>3600</delay>", "<delay>0</delay>", 66, "not above that of the event before it", "in order"),
    ("<delay>3600</delay>", "<delay>18000</delay>", 66, "not below the total time", "earlier"),
    ("<delay>3600</delay>", "<delay>soon</delay>", 66, "is not a number", "decimal number"),
    ("<id>II</id>", "<id>I</id>", 66, "the same id", "id of its own"),
    ("<id>II</id>", "<id>otherwise</id>", 66, "keeps this word", "another name"),
    // Ports and other tags.
    ("<value>4</value>", "<value>four</value>", 28, "no number of ports", "1 to 65535"),
    ("<value>ports 1=n1 2=n2</value>", "<value>n1, n2</value>", 29, "is no port map", "PORT=ID"),
    ("ports 1=n1 2=n2", "ports 1=n1 9=n2", 29, "has port 9, and it has 4 ports", "1 to 4"),
    ("ports 1=n1 2=n2", "ports 1=n1 1=n2", 29, "port 1 twice", "once"),
    ("ports 1=n1 2=n2", "ports 1=n1 2=n7", 29, "no component \"n7\"", "did you mean"),
    ("<tag><key>ports</key><value>4</value></tag>", "", 29, "not say how many ports", "key ports"),
    (
        "<key>destination.port</key><value>1<",
        "<key>destination.port</key><value>7<",
        44,
        "has 4 ports, and no port 7",
        "more ports",
    ),
    (
        "<key>destination.port</key><value>1<",
        "<key>destination.port</key><value>2<",
        44,
        "the port map says leads to \"n2\"",
        "port map",
    ),
    ("<key>destination.port", "<key>source.port", 44, "which has no ports", "router"),
    ("<destination>n2</destination>", "<destination>n1</destination>", 54, "the port map says leads to", "port map"),
    (
        "<tag><key>source.port</key><value>2</value></tag>",
        "<tag><key>source.port</key><value>2</value></tag><tag><key>source.port</key><value>3</value></tag>",
        54,
        "there twice",
        "keep one",
    ),
    ("<value>both</value>", "<value>up</value>", 55, "\"up\" is unknown", "forward, reverse, both"),
    ("<value>false</value>", "<value>maybe</value>", 13, "neither true nor false", "true or false"),
    ("<value>2.5</value>", "<value>-1</value>", 12, "below zero", "from 0 on"),
    ("<value>2.5</value>", "<value/>", 12, "tag cost has no value", "give it one"),
    ("<key>cost</key>", "<key>ports</key>", 12, "tag ports means nothing on a node", "move it to a router"),
    ("<key>cost</key><value>2.5</value>", "", 9, "neither key nor value", "give it a key"),
];

fn mistakes(text: &str) -> Diagnostics {
    parse(text, Path::new("seeded.xml")).expect_err(text)
}

#[test]
fn the_file_without_a_mistake_is_sound() {
    if let Err(mistakes) = parse(SOUND, Path::new("sound.vxdl.xml")) {
        panic!("{mistakes}");
    }
}

#[test]
fn each_kind_of_mistake_is_told_at_its_line_with_a_remedy() {
    let mut failures = Vec::new();
    for (right, wrong, line, said, remedy) in SEEDED {
        assert!(SOUND.contains(right), "{right}");
        let all = mistakes(&SOUND.replacen(right, wrong, 1));
        let told = all.list.iter().any(|one| {
            one.place.is_some_and(|place| place.line == *line)
                && one.wrong.contains(said)
                && one.remedy.contains(remedy)
                && one.excerpt.is_some()
        });
        if !told {
            failures.push(format!("{wrong:?}: expected line {line}: ...{said}...; ...{remedy}..., and got\n{all}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(SEEDED.len() >= 40);
}

#[test]
fn two_links_share_a_port_only_in_different_periods() {
    let two = |first: &str, second: &str| {
        let link = |id: &str, event: &str| {
            format!(
                "<vLink><id>{id}</id><source>r1</source><destination>s1</destination>\n\
                 <tag><key>source.port</key><value>4</value></tag><bandwidth><forward><unit>Mbps</unit>{event}\
                 <simple>1</simple></forward></bandwidth></vLink>"
            )
        };
        SOUND.replacen("<timeline>", &format!("{}\n{}<timeline>", link("p1", first), link("p2", second)), 1)
    };
    let (one, other) = ("<event>I</event>", "<event>II</event>");
    assert!(parse(&two(one, other), Path::new("a.xml")).is_ok());
    for (first, second) in [(one, one), (one, ""), ("", other), ("", "")] {
        let all = mistakes(&two(first, second));
        assert_eq!(all.count(), 1, "{all}");
        let said = all.list[0].to_string();
        assert!(said.starts_with("seeded.xml:67:"), "{said}");
        assert!(said.contains("port 4 of router \"r1\" is taken at the same time by link \"p1\""), "{said}");
    }
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_pass_and_in_order() {
    let mut text = SOUND.to_owned();
    let seeds = [
        ("<exclusivity>true", "<exclusivity>yes", 11),
        ("<unit>GB</unit>", "<unit>gb</unit>", 14),
        ("<vStorage>", "<vStorage x='1'>", 22),
        ("<source>n1</source>", "<source>n9</source>", 45),
        ("<delay>3600</delay>", "<delay>0</delay>", 66),
    ];
    for (right, wrong, _) in seeds {
        text = text.replacen(right, wrong, 1);
    }
    let all = mistakes(&text);
    let lines: Vec<u32> = all.list.iter().filter_map(|one| one.place.map(|place| place.line)).collect();
    assert_eq!(lines, seeds.map(|(.., line)| line), "{all}");
}

#[test]
fn a_message_has_the_place_the_excerpt_and_the_remedy() {
    let text = SOUND.replacen("<source>n1</source>", "<source>n9</source>", 1);
    assert_eq!(
        mistakes(&text).to_string(),
        "seeded.xml:45:15: link l1: source: there is no component \"n9\"; did you mean \"n1\"?\n    \
         45 | <source>n9</source>\n       |         ^"
    );
}

#[test]
fn hostile_files_are_refused_quickly() {
    let deep = "<vNode>".repeat(300_000);
    let levels = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    let flood = "<x/>".repeat(200_000);
    let laughs = "<!DOCTYPE lolz [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><description>&b;</description>";
    let within = |what: &str| SOUND.replacen("<timeline>", &format!("{what}<timeline>"), 1);
    for (text, said) in [
        (deep.clone(), "ends within an element"),
        (within(&levels), "nested deeper than 32 levels"),
        (within(&flood), "and 199000 more"),
        (laughs.into(), "document type"),
        (String::new(), "is missing"),
        ("<".into(), ""),
        ("\u{feff}".into(), "is missing"),
        ("<?xml version=\"1.0\"?>".into(), "no element"),
        (
            within("<vArray><id>x</id><cardinality>4000000000</cardinality><vNode><id>y</id></vNode></vArray>"),
            "elements together",
        ),
    ] {
        let began = std::time::Instant::now();
        let all = mistakes(&text).to_string();
        assert!(all.contains(said), "{said}: {}", &all[..all.len().min(2_000)]);
        assert!(began.elapsed().as_secs() < 20, "{said}: {:?}", began.elapsed());
    }
}

#[test]
fn mistakes_in_toml_are_told_at_their_lines() {
    let sound = include_str!("data/fig4.toml");
    for (right, wrong, line, said) in [
        ("id = \"fig4\"", "", 1, "id is missing"),
        ("id = \"fig4\"", "id = 4", 1, "id is a whole number"),
        ("owner = \"reso\"", "ownr = \"reso\"", 4, "unknown key \"ownr\""),
        ("owner = \"reso\"", "owner = \"\"", 4, "owner is empty"),
        ("owner = \"reso\"", "owner = \"\\u0001\"", 4, "character U+0001"),
        ("owner = \"reso\"", "owner = ", 4, "not well-formed TOML"),
        ("total = \"5 h\"", "total = \"5 hours\"", 3, "no span of time"),
        ("start = 2009-10-12T08:00:00Z", "start = 2009-10-12", 2, "no date and time"),
        ("II = \"1 h\"", "II = \"0 s\"", 9, "not above that of the event before"),
        ("memory = \">= 4 GB\"", "memory = \">= 4 Gb\"", 14, "unknown unit \"Gb\""),
        ("memory = \">= 4 GB\"", "memory = \">= 4\"", 14, "without a unit"),
        ("memory = \">= 4 GB\"", "memory = \"much\"", 14, "is no amount"),
        ("memory = \">= 4 GB\"", "memory = \"4..2 GB\"", 14, "above its most"),
        ("memory = \">= 4 GB\"", "memory = { IV = \"4 GB\" }", 14, "no event \"IV\""),
        ("memory = \">= 4 GB\"", "memory = {}", 14, "empty table"),
        ("ports = 4", "ports = 0", 25, "out of range"),
        ("ports = 4", "", 26, "a portmap and no ports"),
        ("portmap = { 1 =", "portmap = { one =", 26, "\"one\" is no port"),
        ("{ role = \"data source\" }", "{ ports = \"4\" }", 20, "a key of its own"),
        ("to = { id = \"B\", port = 1 }", "to = { id = \"B\", prot = 1 }", 68, "unknown key \"prot\""),
        ("to = { id = \"B\", port = 1 }", "to = \"Z\"", 68, "no component \"Z\""),
        (
            "forward = { I = \">= 900 Mbps\" }",
            "forward = \"1 Mbps\"\nbandwidth = \"1 Mbps\"",
            70,
            "beside forward or reverse",
        ),
        ("[[node]]", "[node]", 12, "node is a table"),
    ] {
        assert!(sound.contains(right), "{right}");
        let all = parse(&sound.replacen(right, wrong, 1), Path::new("seeded.toml")).expect_err(wrong);
        let told = |one: &pointsman_vxi::Diagnostic| {
            one.place.is_some_and(|place| place.line == line) && one.wrong.contains(said)
        };
        assert!(all.list.iter().any(told), "{wrong}: expected line {line}: {said}, and got\n{all}");
    }
}
