use std::sync::Arc;

use super::*;
use crate::autodiff::{Adam, ParamTable, Role, Schedule, Tracer};

/// One line a node: operation, arguments, shape.
fn lines(graph: &Graph) -> Vec<String> {
    let word = |op: Op| {
        let text = format!("{op:?}");
        let text = text.trim_start_matches("Unary(").trim_start_matches("Binary(");
        text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>()
    };
    let line = |node: &Node| {
        let args: Vec<String> = node.args.iter().map(|a| a.index().to_string()).collect();
        format!("{}({}) {}", word(node.op), args.join(", "), node.shape)
    };
    graph.nodes().iter().map(line).collect()
}

/// One layer of 8 rows and its training.
fn layer() -> Trace {
    let mut table = ParamTable::default();
    let g = table.add_group("g", false);
    let (w, b) = (table.add(g, "w", Shape::new(1, 2, 1)), table.add(g, "b", Shape::SCALAR));
    let t = Tracer::new(Arc::new(table));
    let y = t.input("x", 8, 2).linear(t.param(w), t.param(b));
    t.train("y", Role::Critic, g, &Adam::new(Schedule::Constant(0.1)), y.square().mean());
    t.finish()
}

#[test]
fn a_wide_layer_before_and_after() {
    let trace = layer();
    let before = [
        "Input() [8, 2]",
        "Param() [2, 1]",
        "Param() [1, 1]",
        "Linear(0, 1, 2) [8, 1]",
        "Square(3) [8, 1]",
        "Sum(4) [1, 1]",
        "Affine(5) [1, 1]",
        "Const() [1, 1]",
        "Affine(7) [1, 1]",
        "Mul(8, 3) [8, 1]",
        "Affine(9) [8, 1]",
        "LinearDw(0, 10) [2, 1]",
        "Sum(10) [1, 1]",
    ];
    assert_eq!(lines(&trace.graph), before);

    let (after, regions) = split(&trace, Select::ALL, Blocking { wide: 8, most: 4 }).expect("a region");
    // What the region reads has come before it; the layer's output is read by the loss, outside.
    let outer = [
        "Input() [8, 2]",
        "Param() [2, 1]",
        "Param() [1, 1]",
        "Const() [1, 1]",
        "Affine(3) [1, 1]",
        "Region(0, 1, 2, 4) [1, 0]",
        "RegionResult(5) [8, 1]",
        "RegionResult(5) [2, 1]",
        "RegionResult(5) [1, 1]",
        "Square(6) [8, 1]",
        "Sum(9) [1, 1]",
        "Affine(10) [1, 1]",
    ];
    assert_eq!(lines(&after.graph), outer);
    assert_eq!(after.items.iter().map(|item| item.after).collect::<Vec<_>>(), [12]);
    let body = [
        "View() [4, 2]",
        "View() [2, 1]",
        "View() [1, 1]",
        "Linear(0, 1, 2) [4, 1]",
        "View() [1, 1]",
        "Mul(4, 3) [4, 1]",
        "Affine(5) [4, 1]",
        "LinearDw(0, 6) [2, 1]",
        "Sum(6) [1, 1]",
    ];
    let [region] = &regions[..] else { panic!("{} regions", regions.len()) };
    assert_eq!(lines(&region.body.graph), body);
    assert_eq!((region.heads, region.blocks), (1, 2));
    let views = [(0, 8, 8), (0, 0, 2), (0, 0, 1), (0, 0, 1)];
    assert_eq!(region.views, views.map(|(head, block, len)| View { head, block, len }));
}

#[test]
fn nothing_is_split_where_nothing_is_wide() {
    let trace = layer();
    for blocking in [Blocking { wide: 9, most: 4 }, Blocking { wide: 8, most: 8 }, Blocking::USUAL] {
        assert!(split(&trace, Select::ALL, blocking).is_none(), "{blocking:?}");
    }
}
