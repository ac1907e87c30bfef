//! Where the results go: the terminal, `results.json`, and on demand the documentation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{chart::charts, history, report::report, results::Results};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Where the results go.
#[derive(Debug, Args)]
pub(crate) struct OutputFlags {
    /// The directory of results.json.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"), hide_default_value = true)]
    out: PathBuf,
    /// Rewrite the results in docs/BENCHMARKS.md and its pictures.
    #[arg(long)]
    docs: bool,
}

impl OutputFlags {
    /// Keeps the results, then shows them.
    pub(crate) fn keep_and_show(&self, results: &Results) -> anyhow::Result<()> {
        fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        write(&self.out.join("results.json"), &serde_json::to_string_pretty(results)?)?;
        self.show(results)
    }

    /// Shows what an earlier run has kept.
    pub(crate) fn show_again(&self) -> anyhow::Result<()> {
        let path = self.out.join("results.json");
        let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.show(&serde_json::from_str(&kept)?)
    }

    fn show(&self, results: &Results) -> anyhow::Result<()> {
        let report = report(results);
        print!("{report}");
        let charts = charts(results, &history::read()?);
        for (name, chart) in &charts {
            write(&self.out.join(name), chart)?;
        }
        if self.docs {
            let page = Path::new(DOCS).join("BENCHMARKS.md");
            let old = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
            write(&page, &with_section(&old, &report)?)?;
            for (name, chart) in &charts {
                write(&Path::new(DOCS).join(name), chart)?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The page with the report between its marks.
fn with_section(page: &str, report: &str) -> anyhow::Result<String> {
    let marked = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = marked else { bail!("the page has no {BEGIN} followed by {END}") };
    Ok(format!("{before}{BEGIN}\n\n{report}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("intro\n{BEGIN}\nold\n{END}\noutro\n");
        let new = with_section(&page, "new\n").unwrap();
        assert_eq!(new, format!("intro\n{BEGIN}\n\nnew\n\n{END}\noutro\n"));
        assert_eq!(with_section(&new, "new\n").unwrap(), new);
        assert!(with_section("no marks", "new").is_err());
    }
}
