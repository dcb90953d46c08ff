//! One file as a tree: every object that hard links reach, read and checked when the file is opened.

use super::chunks::{self, Stored};
use super::fault::{Fault, Found, damaged};
use super::group::{Group, Link};
use super::header::{Header, Superblock, kind};
use super::image::{Cursor, Image, Ranks, Source};
use super::messages::{Dataset, Place};
use crate::backend::resembles;
use std::collections::BTreeMap;

/// Bytes in which an old group keeps its names.
const UNIT: usize = 8;

/// An object of the file.
#[derive(Debug)]
pub(super) enum Object {
    Group(Group),
    Dataset(Column),
    /// Whole, and of a kind that this reader does not know; said only when it is asked for.
    Unknown(String),
    /// A committed type.
    Type,
}

/// A dataset with the places of its chunks.
#[derive(Debug)]
pub(super) struct Column {
    pub dataset: Dataset,
    pub chunks: Vec<Stored>,
}

/// All objects of one file.
pub(super) struct Tree {
    pub image: Image,
    pub root: u64,
    pub objects: BTreeMap<u64, Object>,
}

/// An open tree, or the reason with the path of the object that it concerns.
pub(super) type Opened = Result<Tree, (String, Fault)>;

/// The file is shorter than its superblock says.
pub(super) struct Cut {
    pub expected: u64,
}

impl Tree {
    /// Reads superblock, groups, headers and chunk indexes; `base` is where the superblock lies.
    pub fn open(source: Source, base: u64, length: u64) -> Result<Opened, Cut> {
        let mut image = Image::new(source, base, length);
        let superblock = match Superblock::read(&image, base) {
            Ok(superblock) => superblock,
            Err(fault) => return Ok(Err(("/".into(), fault))),
        };
        if superblock.end > length {
            return Err(Cut { expected: superblock.end });
        }
        image.ends_at(superblock.end.saturating_sub(base));
        if let Some(ranks) = superblock.ranks {
            image.set_ranks(ranks);
        }
        let mut tree = Tree { image, root: superblock.root, objects: BTreeMap::new() };
        Ok(match tree.walk(&superblock) {
            Ok(()) => Ok(tree),
            Err(at) => Err(at),
        })
    }

    fn walk(&mut self, superblock: &Superblock) -> Result<(), (String, Fault)> {
        let root = |fault| ("/".to_string(), fault);
        if let Some(at) = superblock.extension {
            let header = Header::read(&self.image, at).map_err(root)?;
            for (kind, what) in
                [(kind::DRIVER, "a special file driver"), (kind::CACHE_IMAGE, "an image of the cache")]
            {
                if header.has(kind) {
                    return Err(root(Fault::Unsupported(what.into())));
                }
            }
            self.read_ranks(&header).map_err(root)?;
        }
        // How many links lead to each object, and how many it says; the root has one link more than names lead to it.
        let mut counts = BTreeMap::from([(self.root, (1u32, 0u32, String::new()))]);
        let mut waiting = vec![(self.root, String::new())];
        while let Some((at, path)) = waiting.pop() {
            let fail = |fault| (if path.is_empty() { "/".into() } else { path.clone() }, fault);
            let cached = superblock.cached.filter(|_| at == self.root);
            let (object, links) = read(&self.image, at, cached).map_err(fail)?;
            if let Some(count) = counts.get_mut(&at) {
                count.1 = links;
            }
            if let Object::Group(group) = &object {
                for (name, link) in &group.links {
                    let Link::Hard(child) = link else {
                        continue;
                    };
                    let inner = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    let count = counts.entry(*child).or_insert((0, 0, inner.clone()));
                    count.0 += 1;
                    if count.0 == 1 {
                        waiting.push((*child, inner));
                    }
                }
            }
            self.objects.insert(at, object);
        }
        for (at, (found, said, path)) in counts {
            // A committed type also counts the datasets that use it.
            if found != said && !matches!(self.objects.get(&at), Some(Object::Type)) {
                let reason = format!("{found} links lead to an object that counts {said}");
                return Err((if path.is_empty() { "/".into() } else { path }, damaged(reason)));
            }
        }
        self.image.check_claims().map_err(root)
    }

    /// Sizes of the old B-trees, in an extension of the superblock.
    fn read_ranks(&mut self, extension: &Header) -> Found<()> {
        if let Some(message) = extension.only(kind::RANKS)? {
            let mut fields = Cursor::new(&message.body);
            fields.expect(0, "version of the ranks")?;
            let (chunks, nodes, leaves) = (fields.u16()?.into(), fields.u16()?.into(), fields.u16()?.into());
            self.image.set_ranks(Ranks { leaves, nodes, chunks });
        }
        Ok(())
    }

    /// Why a name that is not in a group may have been there before the file was damaged; `rest` is what should follow.
    pub fn doubt(&self, at: u64, name: &str, rest: &str) -> Option<String> {
        let group = self.group(at)?;
        // A zero byte in a name leaves its end behind. Names of one unit are left behind by deletion, too.
        let long = name.len() >= UNIT;
        let end_of = |text: &str| long && text.len() > 1 && name.ends_with(text);
        if let Some(text) =
            group.left_over.iter().find(|t| end_of(t) || resembles(t, name) || (long && *t == name))
        {
            return Some(format!("a group that keeps the text `{text}`, which belongs to no key"));
        }
        let begin_of = |other: &&String| long && !other.is_empty() && name.starts_with(other.as_str());
        if let Some(other) = group.cut.iter().find(begin_of) {
            return Some(format!("a group with `{other}` and behind it room for more"));
        }
        let first = rest.split('/').next().unwrap_or_default();
        let leads_on = |link: &Link| match link {
            Link::Hard(child) => self.group(*child).is_some_and(|g| g.links.contains_key(first)),
            _ => false,
        };
        let like = |(other, link): &(&String, &Link)| {
            resembles(other, name) || (name.starts_with(other.as_str()) && leads_on(link))
        };
        let (other, _) = group.links.iter().find(like)?;
        Some(format!("a file with `{other}`, which is nearly that name"))
    }

    pub fn group(&self, at: u64) -> Option<&Group> {
        match self.objects.get(&at) {
            Some(Object::Group(group)) => Some(group),
            _ => None,
        }
    }
}

/// Reads one object, and how many links it says lead to it.
fn read(image: &Image, at: u64, cached: Option<(u64, u64)>) -> Found<(Object, u32)> {
    let header = Header::read(image, at)?;
    let group = header.has(kind::SYMBOL_TABLE) || header.has(kind::LINK_INFO) || header.has(kind::LINK);
    let object = if group {
        Object::Group(Group::read(image, &header, cached)?)
    } else if header.has(kind::LAYOUT) {
        match column(image, &header) {
            Ok(column) => Object::Dataset(column),
            Err(Fault::Unsupported(what)) => Object::Unknown(what),
            Err(fault) => return Err(fault),
        }
    } else if header.has(kind::DATATYPE) && !header.has(kind::DATASPACE) {
        Object::Type
    } else {
        return Err(damaged("an object that is neither group nor dataset nor type"));
    };
    Ok((object, header.links))
}

fn column(image: &Image, header: &Header) -> Found<Column> {
    let dataset = Dataset::read(image, header)?;
    let chunks = match &dataset.place {
        Place::Compact(_) => Vec::new(),
        Place::Contiguous { address, bytes } => {
            if let Some(address) = address {
                image.claim(*address, *bytes)?;
            }
            Vec::new()
        }
        Place::Chunked { chunk, index } => chunks::list(image, &dataset, chunk, index)?,
    };
    super::filters::check_known(&dataset.filters)?;
    Ok(Column { dataset, chunks })
}
