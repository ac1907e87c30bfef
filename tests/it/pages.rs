//! The pages of this repository: every link within it leads to a file and a heading that are there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where pages are, beside those at the top.
const FOLDERS: [&str; 4] = ["deploy", "docs", "examples", "migrations"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page below a folder, or only in it.
fn pages_in(folder: &Path, and_below: bool, pages: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if and_below && path.is_dir() && !path.ends_with("target") {
            pages_in(&path, true, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    pages_in(root(), false, &mut pages);
    for folder in FOLDERS {
        pages_in(&root().join(folder), true, &mut pages);
    }
    pages
}

/// A page without what is fenced as code, where brackets are no links.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let is_fence = |line: &&str| line.trim_start().starts_with("```");
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        is_code ^= is_fence(line);
        !is_code
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.replace(|c: char| c != '-' && c != '_' && !c.is_alphanumeric(), "")
    };
    prose(page).lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut links = 0;
    for page in pages() {
        let prose = prose(&page);
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} leads to no file", page.display());
            let is_there = anchor.is_empty() || anchors(&target).contains(anchor);
            assert!(is_there, "{}: {link} leads to no heading", page.display());
        }
    }
    assert!(links > 100, "only {links} links");
}
