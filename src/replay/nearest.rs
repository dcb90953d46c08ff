//! The nearest of many points, exactly: a tree of boxes, each split in the middle of its widest extent, and a list of the
//! points that came or changed after it was built.
//!
//! Points stand in numbered slots. Distances are sums of squares in f32, added in the order of the dimensions. Of points at the
//! same distance that in the first slot is the nearest, so that what is found depends on the points alone, not on the tree or
//! on the order in which they came.

use std::ops::Range;

/// Points of a box that is split no more.
const LEAF: usize = 32;
/// So many points may stand outside the tree, or this share of those inside, before it is built anew.
const OUTSIDE: usize = 4096;
const OUTSIDE_SHARE: usize = 16;
/// More boxes than a path from the root passes.
const DEPTH: usize = 64;

/// A box of the tree: its points in the order of the tree, and its two halves, if it is split.
#[derive(Clone, Debug)]
struct Node {
    points: Range<usize>,
    halves: Option<[usize; 2]>,
}

/// Where the point of a slot is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Nowhere,
    Tree,
    Outside,
}

/// Points of so many dimensions, in slots.
#[derive(Clone, Debug)]
pub struct Nearest {
    dims: usize,
    /// by slot
    points: Vec<f32>,
    places: Vec<Place>,
    /// slots of the points outside the tree
    outside: Vec<u32>,
    /// slots of the points in the tree, box by box
    order: Vec<u32>,
    /// the points in that order, as they were when it was built
    sorted: Vec<f32>,
    nodes: Vec<Node>,
    /// (lower, upper) corners of every box
    corners: Vec<f32>,
}

impl Nearest {
    /// Bytes of the largest one.
    pub fn bytes(dims: usize, slots: usize) -> f64 {
        // A box for every 16 points or more, and as many above them.
        let boxes = slots as f64 / 8.0;
        4.0 * (2 * dims + 2) as f64 * slots as f64 + boxes * (8.0 * dims as f64 + size_of::<Node>() as f64)
    }

    /// So many empty slots.
    pub fn new(dims: usize, slots: usize) -> Nearest {
        assert!(dims > 0, "points have dimensions");
        Nearest {
            dims,
            points: vec![0.0; dims * slots],
            places: vec![Place::Nowhere; slots],
            outside: Vec::new(),
            order: Vec::new(),
            sorted: Vec::new(),
            nodes: Vec::new(),
            corners: Vec::new(),
        }
    }

    /// Puts a point into a slot, in place of what was there.
    pub fn put(&mut self, slot: usize, point: &[f32]) {
        self.points[slot * self.dims..(slot + 1) * self.dims].copy_from_slice(point);
        if self.places[slot] != Place::Outside {
            self.places[slot] = Place::Outside;
            self.outside.push(slot as u32);
        }
    }

    /// Builds the tree anew if many points stand outside it.
    pub fn settle(&mut self) {
        if self.outside.len() <= OUTSIDE.max(self.order.len() / OUTSIDE_SHARE) {
            return;
        }
        self.outside.clear();
        let places = self.places.iter_mut().enumerate().filter(|(_, place)| **place != Place::Nowhere);
        self.order.clear();
        self.order.extend(places.map(|(slot, place)| {
            *place = Place::Tree;
            slot as u32
        }));
        self.nodes.clear();
        self.corners.clear();
        self.node(0..self.order.len());
        self.sorted.clear();
        let (points, d) = (&self.points, self.dims);
        self.order.iter().for_each(|&i| self.sorted.extend_from_slice(&points[i as usize * d..][..d]));
    }

    fn point(&self, slot: usize) -> &[f32] {
        &self.points[slot * self.dims..(slot + 1) * self.dims]
    }

    /// Makes the box of these places and those inside it; its index.
    fn node(&mut self, range: Range<usize>) -> usize {
        let (index, d) = (self.nodes.len(), self.dims);
        let corner = self.corners.len();
        self.corners.resize(corner + d, f32::INFINITY);
        self.corners.resize(corner + 2 * d, f32::NEG_INFINITY);
        for &i in &self.order[range.clone()] {
            let point = &self.points[i as usize * d..(i as usize + 1) * d];
            let (lower, upper) = self.corners[corner..].split_at_mut(d);
            lower.iter_mut().zip(point).for_each(|(c, x)| *c = c.min(*x));
            upper.iter_mut().zip(point).for_each(|(c, x)| *c = c.max(*x));
        }
        self.nodes.push(Node { points: range.clone(), halves: None });
        if range.len() > LEAF {
            let (lower, upper) = self.corners[corner..].split_at(d);
            let extent = |k: &usize| upper[*k] - lower[*k];
            let widest = (0..d).max_by(|a, b| extent(a).total_cmp(&extent(b))).expect("invariant: dims > 0");
            let (points, middle) = (&self.points, range.len() / 2);
            let along = |i: &u32| points[*i as usize * d + widest];
            self.order[range.clone()].select_nth_unstable_by(middle, |a, b| along(a).total_cmp(&along(b)));
            let at = range.start + middle;
            let halves = [self.node(range.start..at), self.node(at..range.end)];
            self.nodes[index].halves = Some(halves);
        }
        index
    }

    /// Slot and squared distance of the point nearest to `query`. A point that is near, in the slot `guess`, saves the search
    /// most of its work.
    ///
    /// # Panics
    /// If the slot `guess` is empty.
    pub fn find(&self, query: &[f32], guess: usize) -> (usize, f32) {
        assert_eq!(query.len(), self.dims, "a query has the dimensions of the points");
        assert!(self.places[guess] != Place::Nowhere, "no point in slot {guess}");
        let mut best = (guess, squares(query, self.point(guess), f32::INFINITY));
        let mut improve = |slot: u32, point: &[f32]| {
            let (slot, distance) = (slot as usize, squares(query, point, best.1));
            if distance < best.1 || (distance == best.1 && slot < best.0) {
                best = (slot, distance);
            }
            best.1
        };
        let mut bound = f32::INFINITY;
        for &slot in &self.outside {
            bound = improve(slot, self.point(slot as usize));
        }
        let mut stack = [(0, 0.0f32); DEPTH];
        let mut height = usize::from(!self.nodes.is_empty());
        while height > 0 {
            height -= 1;
            let (index, least) = stack[height];
            if least > bound {
                continue;
            }
            let node = &self.nodes[index];
            let Some([a, b]) = node.halves else {
                let points = self.sorted[node.points.start * self.dims..].chunks_exact(self.dims);
                for (&slot, point) in self.order[node.points.clone()].iter().zip(points) {
                    // Another point may be there by now.
                    if self.places[slot as usize] == Place::Tree {
                        bound = improve(slot, point);
                    }
                }
                continue;
            };
            let (a, b) = ((a, self.distance(a, query)), (b, self.distance(b, query)));
            let [far, near] = if a.1 <= b.1 { [b, a] } else { [a, b] };
            (stack[height], stack[height + 1]) = (far, near);
            height += 2;
        }
        best
    }

    /// Squared distance of a query from a box. Rounding keeps order, so that it is not above that of any point inside.
    fn distance(&self, node: usize, query: &[f32]) -> f32 {
        let corners = &self.corners[2 * self.dims * node..2 * self.dims * (node + 1)];
        let (lower, upper) = corners.split_at(self.dims);
        let beyond = |(x, (lo, hi)): (&f32, (&f32, &f32))| (lo - x).max(x - hi).max(0.0);
        query.iter().zip(lower.iter().zip(upper)).map(beyond).fold(0.0, |sum, d| sum + d * d)
    }
}

/// Squared distance of two points; a part of it that is above `enough`, if the whole is.
fn squares(a: &[f32], b: &[f32], enough: f32) -> f32 {
    let mut sum = 0.0;
    for (x, y) in a.iter().zip(b) {
        let d = (x - y).abs();
        sum += d * d;
        if sum > enough {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use baq_kernels::philox::fill_uniform;

    fn numbers(stream: u32, n: usize) -> Vec<f32> {
        let mut x = vec![0.0; n];
        fill_uniform(5, stream, 0, &mut x);
        x
    }

    /// Points of a lattice, many of them the same and many at the same distance, or of any numbers.
    fn points(stream: u32, n: usize, coarse: bool) -> Vec<f32> {
        let x = numbers(stream, n).into_iter();
        x.map(|x| if coarse { (x * 8.0).floor() } else { x }).collect()
    }

    #[test]
    fn the_tree_finds_what_looking_at_all_points_finds() {
        for (dims, n, coarse) in [(1, 5000, false), (3, 9000, true), (14, 9000, false), (14, 40, false)] {
            let mut all = points(dims as u32, dims * n, coarse);
            let mut tree = Nearest::new(dims, n);
            // In parts and from behind, so that some stay outside the tree; it is built anew on the way.
            for part in (0..n).rev().collect::<Vec<_>>().chunks(1700) {
                part.iter().for_each(|&i| tree.put(i, &all[i * dims..(i + 1) * dims]));
                tree.settle();
            }
            assert_eq!(tree.order.is_empty(), n < OUTSIDE);
            for turn in 0..2 {
                let queries = points(90 + 2 * dims as u32 + turn, dims * 500, coarse);
                for (k, query) in queries.chunks_exact(dims).enumerate() {
                    let each = all.chunks_exact(dims).map(|p| squares(query, p, f32::INFINITY)).enumerate();
                    let nearest = each.fold((0, f32::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
                    assert_eq!(tree.find(query, k % n), nearest, "query {k} of {dims} dimensions");
                }
                // Others in their place.
                let new = points(190 + dims as u32, dims * n, coarse);
                for i in (0..n).step_by(3) {
                    all[i * dims..(i + 1) * dims].copy_from_slice(&new[i * dims..(i + 1) * dims]);
                    tree.put(i, &new[i * dims..(i + 1) * dims]);
                }
            }
        }
    }

    #[test]
    fn a_point_is_nearest_to_itself() {
        let points = numbers(1, 14 * 6000);
        let mut tree = Nearest::new(14, 7000);
        points.chunks(14).enumerate().for_each(|(k, point)| tree.put(k, point));
        tree.settle();
        for (k, point) in points.chunks_exact(14).enumerate().step_by(7) {
            assert_eq!(tree.find(point, 0), (k, 0.0));
        }
    }
}
