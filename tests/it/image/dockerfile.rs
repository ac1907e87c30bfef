//! The Dockerfile, as far as tests need to understand it.

use std::{fs, path::Path};

/// The stages of a Dockerfile, in their order.
pub struct Dockerfile(Vec<Stage>);

/// From one FROM to the next.
#[derive(Default)]
pub struct Stage {
    /// Each instruction, and what it says.
    instructions: Vec<(String, String)>,
}

impl Dockerfile {
    /// The one of this repository.
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>();
        let mut stages: Vec<Stage> = Vec::new();
        for instruction in lines.join("\n").replace("\\\n", " ").lines().map(str::trim) {
            let Some((name, rest)) = instruction.split_once(' ') else { continue };
            if name == "FROM" {
                stages.push(Stage::default());
            }
            let stage = stages.last_mut().expect("FROM comes first");
            stage.instructions.push((name.to_owned(), rest.trim().to_owned()));
        }
        Self(stages)
    }

    /// The stage in which the program is built.
    pub fn build(&self) -> &Stage {
        self.0.iter().find(|stage| stage.one("FROM").ends_with(" AS build")).unwrap()
    }

    /// The stage that is the image.
    pub fn last(&self) -> &Stage {
        self.0.last().unwrap()
    }
}

impl Stage {
    /// What all instructions of a name say.
    fn all(&self, name: &str) -> Vec<&str> {
        self.instructions.iter().filter(|(of, _)| of == name).map(|(_, rest)| rest.as_str()).collect()
    }

    /// What the only instruction of a name says.
    pub fn one(&self, name: &str) -> &str {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    }

    /// What is copied in: from where, flags aside, and to where.
    pub fn copies(&self) -> impl Iterator<Item = (Vec<&str>, &str)> {
        self.all("COPY").into_iter().map(|copy| {
            let mut paths: Vec<&str> =
                copy.split_whitespace().filter(|word| !word.starts_with("--")).collect();
            let to = paths.pop().unwrap();
            (paths, to)
        })
    }

    /// The environment that it sets.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all("ENV").into_iter().flat_map(str::split_whitespace).map(|pair| pair.split_once('=').unwrap())
    }

    /// The words of an instruction in its exec form.
    pub fn words(&self, name: &str) -> Vec<String> {
        serde_json::from_str(self.one(name)).unwrap_or_else(|_| panic!("{name} is not in its exec form"))
    }
}
