//! Turns a Markdown text into HTML: `markdown [KIB] [TIMES]`.

use guest_benches::{sizes, Dice};
use pulldown_cmark::{html, Options, Parser};

fn main() {
    let (kib, times) = sizes(1024, 100);
    let text = text(kib * 1024);
    let mut page = String::new();
    for _ in 0..times {
        page.clear();
        html::push_html(&mut page, Parser::new_ext(&text, Options::all()));
    }
    println!("{} bytes of Markdown, {} of HTML", text.len(), page.len());
}

fn text(size: usize) -> String {
    let mut dice = Dice::new(11);
    let mut text = String::with_capacity(size + 4096);
    while text.len() < size {
        match dice.roll(8) {
            0 => {
                text += &format!("{} {}\n\n", "#".repeat(1 + dice.roll(4)), sentence(&mut dice, 4))
            }
            1 => (0..2 + dice.roll(6))
                .for_each(|_| text += &format!("- {}\n", sentence(&mut dice, 7))),
            2 => {
                text += &format!(
                    "```rust\nlet {} = \"{}\";\n```\n",
                    dice.word(),
                    sentence(&mut dice, 9)
                )
            }
            3 => text += &format!("> {}\n> {}\n", sentence(&mut dice, 10), sentence(&mut dice, 6)),
            4 => {
                text += &format!(
                    "| {} | {} |\n|---|---|\n| {} | `{}` |\n",
                    dice.word(),
                    dice.word(),
                    dice.word(),
                    dice.word()
                )
            }
            _ => (0..1 + dice.roll(5))
                .for_each(|_| text += &format!("{}\n", sentence(&mut dice, 14))),
        }
        text.push('\n');
    }
    text
}

fn sentence(dice: &mut Dice, words: usize) -> String {
    let mut sentence = String::new();
    for _ in 0..words {
        let word = dice.word();
        match dice.roll(20) {
            0 => sentence += &format!("*{word}* "),
            1 => sentence += &format!("**{word}** "),
            2 => sentence += &format!("`{word}` "),
            3 => sentence += &format!("[{word}](https://example.org/{word}) "),
            4 => sentence += &format!("{word}<br> "),
            5 => sentence += &format!("{word} & ~~{}~~ ", dice.word()),
            _ => sentence += &format!("{word} "),
        }
    }
    sentence
}
