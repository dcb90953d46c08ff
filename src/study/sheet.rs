//! Tables under one title, for the terminal, as Markdown, LaTeX and HTML. What they are about it does not know.

use crate::report::sections::{Item, Section, sections_page};

/// Letters that fit into a line of a LaTeX article, in small print.
const TEX_COLUMNS: usize = 64;
/// What stands between columns in the terminal.
const GAP: usize = 2;

/// Tables under one title.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its title.
    pub title: String,
    /// What it asks.
    pub about: String,
    /// What its runs are.
    pub facts: String,
    /// How to read it.
    pub legend: Vec<String>,
    /// What is missing, what does not compare.
    pub notes: Vec<String>,
    /// The tables.
    pub blocks: Vec<Block>,
}

/// One of them. A cell may have several lines; the first is what matters most.
#[derive(Debug, Clone)]
pub struct Block {
    /// What stands above it.
    pub heading: String,
    /// Heads of the columns.
    pub heads: Vec<String>,
    /// Rows, as long as the heads.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// For a terminal of so many columns. Methods that do not fit stand below the others.
    pub fn text(&self, width: usize) -> String {
        let mut lines = Vec::new();
        for paragraph in [&self.title, &self.about, &self.facts] {
            lines.extend(wrapped(paragraph, width, ""));
        }
        for block in &self.blocks {
            lines.push(String::new());
            lines.extend(wrapped(&block.heading, width, ""));
            for (i, part) in block.parts(width).iter().enumerate() {
                lines.extend((i > 0).then(String::new));
                lines.extend(part.lines());
            }
        }
        lines.push(String::new());
        for note in self.legend.iter().chain(&self.notes) {
            lines.extend(wrapped(&format!("- {note}"), width, "  "));
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let escaped = markdown_escaped;
        let row = |cells: &Vec<String>| {
            format!("| {} |\n", cells.iter().map(|c| escaped(c)).collect::<Vec<_>>().join(" | "))
        };
        let mut out =
            format!("## {}\n\n{}\n\n{}\n", escaped(&self.title), escaped(&self.about), escaped(&self.facts));
        for block in &self.blocks {
            let rule = format!("|:--{}|\n", "|--:".repeat(block.heads.len() - 1));
            let rows: String = block.rows.iter().map(row).collect();
            out += &format!("\n### {}\n\n{}{rule}{rows}", escaped(&block.heading), row(&block.heads));
        }
        let notes = self.legend.iter().chain(&self.notes).map(|note| format!("- {}\n", escaped(note)));
        out + "\n" + &notes.collect::<String>()
    }

    /// As LaTeX that needs no package (but for labels in other scripts than Latin and Greek, or with other signs than those
    /// of the tables, as that of infinity): a `table` each, or several where it is wide; how to read them stands below the
    /// last.
    pub fn tex(&self) -> String {
        let mut out = String::new();
        for block in self.blocks.iter().flat_map(|block| block.parts(TEX_COLUMNS)) {
            let caption = format!("{}. {}. {}", self.title, block.heading, self.facts);
            let columns = "r".repeat(block.heads.len() - 1);
            let rows: String = std::iter::once(tex_row(&block.heads) + "\\hline\n")
                .chain(block.rows.iter().map(|row| tex_row(row)))
                .collect();
            out += &format!(
                "\\begin{{table}}\n\\caption{{{}}}\n\\centering\\small\n\\begin{{tabular}}{{l{columns}}}\n\\hline\n\
                 {rows}\\hline\n\\end{{tabular}}\n\\end{{table}}\n\n",
                tex_escaped(&caption)
            );
        }
        let notes = self.legend.iter().chain(&self.notes);
        let notes: String = notes.map(|note| format!("\\item {}\n", tex_escaped(note))).collect();
        match notes.is_empty() {
            true => out,
            false => out + "\\begin{itemize}\\small\n" + &notes + "\\end{itemize}\n",
        }
    }

    /// As one page.
    pub fn html(&self) -> String {
        let table = |block: &Block| Section {
            heading: block.heading.clone(),
            items: vec![Item::Table(block.heads.clone(), block.rows.clone())],
        };
        let mut sections: Vec<Section> = self.blocks.iter().map(table).collect();
        let legend = self.legend.iter().cloned().map(Item::Text).collect();
        sections.push(Section { heading: "How to read it".into(), items: legend });
        let subtitle = format!("{} \u{b7} {}", self.about, self.facts);
        sections_page(&self.title, &subtitle, &self.notes, &sections)
    }
}

fn columns_wide(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

impl Block {
    /// Splits it into blocks that fit, each with the first column; a single column may be too wide.
    fn parts(&self, width: usize) -> Vec<Block> {
        let wide = |c: usize| {
            self.rows
                .iter()
                .map(|row| columns_wide(&row[c]))
                .max()
                .unwrap_or(0)
                .max(columns_wide(&self.heads[c]))
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut used = usize::MAX;
        for column in 1..self.heads.len() {
            let more = GAP + wide(column);
            if used.saturating_add(more) > width {
                groups.push(vec![0]);
                used = wide(0);
            }
            used += more;
            groups.last_mut().expect("invariant: a group was begun").push(column);
        }
        let take = |row: &Vec<String>, group: &[usize]| group.iter().map(|c| row[*c].clone()).collect();
        let part = |group: Vec<usize>| Block {
            heading: self.heading.clone(),
            heads: take(&self.heads, &group),
            rows: self.rows.iter().map(|row| take(row, &group)).collect(),
        };
        groups.into_iter().map(part).collect()
    }

    /// The first column flush left, the others flush right.
    fn lines(&self) -> Vec<String> {
        let all: Vec<&Vec<String>> = std::iter::once(&self.heads).chain(&self.rows).collect();
        let wide = |c: usize| all.iter().map(|row| columns_wide(&row[c])).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.heads.len()).map(wide).collect();
        let rule = "\u{2500}".repeat(widths.iter().sum::<usize>() + GAP * (widths.len() - 1));
        let mut lines = Vec::new();
        for (i, row) in all.into_iter().enumerate() {
            let height = row.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
            for line in 0..height {
                let text = |cell: &String| cell.lines().nth(line).unwrap_or("").to_string();
                let mut out = format!("{:<1$}", text(&row[0]), widths[0]);
                for (cell, width) in row.iter().zip(&widths).skip(1) {
                    out += &format!("{:>1$}", text(cell), width + GAP);
                }
                lines.push(out);
            }
            if i == 0 {
                lines.push(rule.clone());
            }
        }
        lines
    }
}

/// Breaks text into lines that fit; those behind the first begin with `indent`.
fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                *line += &format!(" {word}")
            }
            Some(_) => lines.push(format!("{indent}{word}")),
            None => lines.push(word.to_string()),
        }
    }
    lines
}

/// Brackets stay as they are, which intervals have, unless they would make a link.
fn markdown_escaped(text: &str) -> String {
    let escaped = |c: char| match c {
        '\\' | '`' | '*' | '_' | '|' | '$' | '~' | '#' => format!("\\{c}"),
        '&' => "&amp;".into(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '\n' => "<br>".into(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(escaped).collect();
    ["](", "][", "]:"].iter().fold(text, |text, link| text.replace(link, &format!("\\{link}")))
}

/// A row of a `tabular`, with one more for each further line of its cells.
fn tex_row(cells: &[String]) -> String {
    let height = cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(0);
    let line = |line: usize| {
        let texts = cells.iter().map(|cell| {
            let text = tex_escaped(cell.lines().nth(line).unwrap_or(""));
            if line > 0 && !text.is_empty() { format!("{{\\footnotesize {text}}}") } else { text }
        });
        texts.collect::<Vec<_>>().join(" & ") + " \\\\\n"
    };
    (0..height).map(line).collect()
}

/// Small Greek letters from alpha on.
const GREEK: [&str; 25] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "mathrm{o}",
    "pi",
    "rho",
    "varsigma",
    "sigma",
    "tau",
    "upsilon",
    "varphi",
    "chi",
    "psi",
    "omega",
];

/// Greek capitals from Alpha on, with one that does not exist.
const CAPITALS: [&str; 25] = [
    "A",
    "B",
    "$\\Gamma$",
    "$\\Delta$",
    "E",
    "Z",
    "H",
    "$\\Theta$",
    "I",
    "K",
    "$\\Lambda$",
    "M",
    "N",
    "$\\Xi$",
    "O",
    "$\\Pi$",
    "P",
    "",
    "$\\Sigma$",
    "T",
    "$\\Upsilon$",
    "$\\Phi$",
    "X",
    "$\\Psi$",
    "$\\Omega$",
];

fn tex_escaped(text: &str) -> String {
    let escaped = |c: char| match c {
        '\\' => "\\textbackslash{}".to_string(),
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '<' => "$<$".into(),
        '>' => "$>$".into(),
        // At the beginning of a line the first two would belong to the line break before it; two of the others make one sign.
        '[' | '*' | '`' | '\'' => format!("{{{c}}}"),
        // In the usual fonts others stand in their places.
        '|' => "\\textbar{}".into(),
        '"' => "\\texttt{\\char34}".into(),
        '\u{b1}' => "$\\pm$".into(),
        '\u{2212}' => "$-$".into(),
        '\u{2265}' => "$\\geq$".into(),
        '\u{2264}' => "$\\leq$".into(),
        '\u{2013}' => "\\textendash{}".into(),
        '\u{2248}' => "$\\approx$".into(),
        '\u{d7}' => "$\\times$".into(),
        '\u{3b1}'..='\u{3c9}' => format!("$\\{}$", GREEK[c as usize - 0x3b1]),
        // The others look like Latin ones.
        '\u{391}'..='\u{3a9}' => CAPITALS[c as usize - 0x391].to_string(),
        '\n' => " ".into(),
        other => other.to_string(),
    };
    text.chars().map(escaped).collect::<String>().replace("--", "-{-}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(labels: &[&str]) -> Table {
        let rows = labels.iter().map(|label| vec![label.to_string(), "1.0\n[0.5, 1.5]".into()]);
        let block =
            Block { heading: "h".into(), heads: vec!["data".into(), "IQL".into()], rows: rows.collect() };
        Table {
            title: "t".into(),
            about: "what [z]: asks".into(),
            facts: "f".into(),
            legend: Vec::new(),
            notes: Vec::new(),
            blocks: vec![block],
        }
    }

    #[test]
    fn latex_prints_names_as_they_are() {
        let tex = table(&[
            "plain",
            "*BAQ",
            "[z]",
            "a|b",
            "\"q\"",
            "a--b",
            "``c''",
            "\u{2264} 3",
            "\u{3b1}, 50 %",
            "\u{394}Q \u{391}",
        ])
        .tex();
        for row in [
            "\\\\\n{*}BAQ &",
            "\\\\\n{[}z] &",
            "a\\textbar{}b &",
            "\\texttt{\\char34}q\\texttt{\\char34} &",
            "a-{-}b &",
            "{`}{`}c{'}{'} &",
            "$\\leq$ 3 &",
            "$\\alpha$, 50 \\% &",
            "$\\Delta$Q A &",
        ] {
            assert!(tex.contains(row), "{row} in\n{tex}");
        }
    }

    #[test]
    fn markdown_shows_names_as_they_are() {
        let all = ["a_b_c", "`code`", "[z](u)", "$x$", "&lt;", "<b>", "*BAQ*", "a|b", "~~old~~", "a\\b"];
        let markdown = table(&all).markdown();
        for row in [
            "| a\\_b\\_c |",
            "| \\`code\\` |",
            "| [z\\](u) |",
            "| \\$x\\$ |",
            "| &amp;lt; |",
            "| &lt;b&gt; |",
            "| \\*BAQ\\* |",
            "| a\\|b |",
            "| \\~\\~old\\~\\~ |",
            "| a\\\\b |",
            "what [z\\]: asks",
            "| 1.0<br>[0.5, 1.5] |",
        ] {
            assert!(markdown.contains(row), "{row} in\n{markdown}");
        }
    }
}
