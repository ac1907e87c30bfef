//! Which file of a crate imports which: read by a parser, and resolved through re-exports to the file that defines the item.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, ItemFn, ItemImpl, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module by its names from the root of the crate, which has none.
pub type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct File {
    /// The modules and crates that it names, as paths from where they are named.
    paths: BTreeSet<Vec<String>>,
    /// What it gives a name for itself: a module is not imported before something in it is named.
    names: BTreeMap<String, Vec<String>>,
    /// What can be had from here but is defined elsewhere: its name, and its path.
    reexports: BTreeMap<String, Vec<String>>,
}

/// The files of a crate.
pub struct Crate(BTreeMap<Module, File>);

impl Crate {
    /// Reads all files below a directory.
    pub fn read(src: &Path) -> Self {
        let files = super::sources(src).into_iter().map(|path| {
            (path.strip_prefix(src).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        });
        Self::parse(files)
    }

    /// Parses files, by their paths in `src`. Tests within them are left out.
    pub fn parse(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let parsed: BTreeMap<Module, syn::File> = files
            .into_iter()
            .map(|(path, text)| {
                (module(&path), syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}")))
            })
            .collect();
        let tests: BTreeSet<Module> =
            parsed.iter().flat_map(|(module, file)| test_modules(module, file)).collect();
        let files = parsed.iter().filter(|(module, _)| !tests.contains(*module)).map(|(module, file)| {
            let mut reader = Reader::default();
            reader.visit_file(file);
            (module.clone(), reader.0)
        });
        Self(files.collect())
    }

    /// The modules.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.0.keys()
    }

    /// The other modules that a module imports from. What it only passes on from those below it is not imported.
    pub fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let file = &self.0[module];
        let is_module = |path: &&Vec<String>| self.module_of(module, path).is_some();
        let named = file.names.values().filter(|path| !is_module(path));
        let imported = file.paths.iter().chain(named).filter_map(|path| self.defined_in(module, path, 0));
        imported.filter(|imported| imported != module).collect()
    }

    /// The crates, and whatever else is no module of this one, whose names begin paths of a module.
    pub fn crates(&self, module: &Module) -> BTreeSet<&str> {
        let file = &self.0[module];
        let paths = file.paths.iter().chain(file.names.values()).chain(file.reexports.values());
        paths.filter_map(|path| path.first()).map(String::as_str).collect()
    }

    /// The module that defines what a path names.
    fn defined_in(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        assert!(depth < 20, "{from:?} {path:?} is passed on in a circle");
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => (from[..from.len() - 1].to_vec(), &path[1..]),
            name => {
                let child = [from.clone(), vec![name.to_owned()]].concat();
                if !self.0.contains_key(&child) {
                    let named = self.0[from].names.get(name).filter(|named| named[0] != *name)?;
                    let path = [named, &path[1..]].concat();
                    return self.defined_in(from, &path, depth + 1);
                }
                (child, &path[1..])
            }
        };
        while let Some((name, after)) = rest.split_first() {
            let child = [at.clone(), vec![name.clone()]].concat();
            if name == "super" {
                at.pop();
            } else if self.0.contains_key(&child) {
                at = child;
            } else if let Some(path) = self.0[&at].reexports.get(name) {
                return self.defined_in(&at, path, depth + 1).or(Some(at));
            } else {
                break;
            }
            rest = after;
        }
        Some(at)
    }

    /// The module that a path names, if it is one.
    fn module_of(&self, from: &Module, path: &[String]) -> Option<Module> {
        let inside = [path, &["an item".to_owned()]].concat();
        let (module, inside) = (self.defined_in(from, path, 0)?, self.defined_in(from, &inside, 0)?);
        (module == inside && path.last() == module.last()).then_some(module)
    }

    /// A circle of imports, if there is one.
    pub fn circle(&self) -> Option<Vec<Module>> {
        let mut done = BTreeSet::new();
        self.modules().find_map(|module| self.circle_from(module, &mut Vec::new(), &mut done))
    }

    fn circle_from(
        &self,
        module: &Module,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<Module>> {
        if let Some(begin) = way.iter().position(|before| before == module) {
            return Some(way[begin..].to_vec());
        }
        if !done.contains(module) {
            way.push(module.clone());
            for imported in self.imports(module) {
                if let Some(circle) = self.circle_from(&imported, way, done) {
                    return Some(circle);
                }
            }
            way.pop();
            done.insert(module.clone());
        }
        None
    }
}

/// The module of a file.
fn module(path: &str) -> Module {
    let name = path.trim_end_matches(".rs");
    let name = name.strip_suffix("mod").unwrap_or(name).trim_end_matches('/');
    if name == "lib" { Vec::new() } else { name.split('/').map(str::to_owned).collect() }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let is_cfg_test = |attribute: &Attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    };
    attributes.iter().any(is_cfg_test)
}

/// The files that a file declares for tests alone.
fn test_modules<'a>(module: &'a Module, file: &'a syn::File) -> impl Iterator<Item = Module> + 'a {
    file.items.iter().filter_map(move |item| {
        let syn::Item::Mod(item) = item else { return None };
        is_test(&item.attrs).then(|| [module.clone(), vec![item.ident.to_string()]].concat())
    })
}

/// Reads what a file says.
#[derive(Default)]
struct Reader(File);

impl Reader {
    fn read_use(&mut self, tree: &UseTree, path: &mut Vec<String>, is_passed_on: bool) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.read_use(&part.tree, path, is_passed_on);
                path.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.read_use(tree, path, is_passed_on));
            }
            UseTree::Name(name) if name.ident == "self" => self.read_name(path.clone(), None, is_passed_on),
            UseTree::Name(name) => self.read_name(with(path, &name.ident), None, is_passed_on),
            UseTree::Rename(name) => {
                self.read_name(with(path, &name.ident), Some(name.rename.to_string()), is_passed_on);
            }
            UseTree::Glob(_) => _ = self.0.paths.insert(path.clone()),
        }
    }

    fn read_name(&mut self, path: Vec<String>, name: Option<String>, is_passed_on: bool) {
        let is_from_below = !["crate", "super"].contains(&path[0].as_str());
        let name = name.or_else(|| path.last().cloned()).unwrap();
        if is_passed_on {
            self.0.reexports.insert(name.clone(), path.clone());
        }
        if !(is_passed_on && is_from_below) {
            self.0.names.insert(name, path);
        }
    }
}

fn with(path: &[String], name: &syn::Ident) -> Vec<String> {
    [path, &[name.to_string()]].concat()
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test(&item.attrs) {
            let is_passed_on = !matches!(item.vis, Visibility::Inherited);
            self.read_use(&item.tree, &mut Vec::new(), is_passed_on);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.0.paths.insert(names);
        }
        visit::visit_path(self, path);
    }

    /// What a macro is given, or consists of, is not parsed: paths are found in its tokens.
    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        let text = item.tokens.to_string();
        let mut path = Vec::new();
        let mut is_open = false;
        for token in text.split(|c: char| c.is_whitespace() || "()[]{},;&<>!*$".contains(c)) {
            match token {
                "::" => is_open = !path.is_empty(),
                name if name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty() => {
                    if !std::mem::take(&mut is_open) {
                        self.0.paths.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                    }
                    path.push(name.to_owned());
                }
                _ => {
                    is_open = false;
                    self.0.paths.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                }
            }
        }
        self.0.paths.extend(Some(path).filter(|path| path.len() > 1));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }
}
