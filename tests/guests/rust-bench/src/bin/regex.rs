//! Finds addresses in a text, and replaces some: `regex [KIB] [TIMES]`.

use guest_benches::{sizes, Dice};
use regex::Regex;

fn main() {
    let (kib, times) = sizes(512, 400);
    let text = text(kib * 1024);
    let mail = Regex::new(r"[\w.+-]+@[\w.-]+\.[\w.-]+").unwrap();
    let uri = Regex::new(r"[\w]+://[^/\s?#]+[^\s?#]+(?:\?[^\s#]*)?(?:#[^\s]*)?").unwrap();
    let ip = Regex::new(
        r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9])",
    )
    .unwrap();
    let date = Regex::new(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})").unwrap();

    let mut found = [0; 4];
    for _ in 0..times {
        found[0] = mail.find_iter(&text).count();
        found[1] = uri.find_iter(&text).count();
        found[2] = ip.find_iter(&text).count();
        found[3] = date.replace_all(&text, "$day.$month.$year").len() - text.len()
            + date.find_iter(&text).count();
    }
    println!(
        "{} mails, {} uris, {} ips, {} dates in {} bytes",
        found[0],
        found[1],
        found[2],
        found[3],
        text.len()
    );
}

fn text(size: usize) -> String {
    let mut dice = Dice::new(7);
    let mut text = String::with_capacity(size + 64);
    while text.len() < size {
        match dice.roll(40) {
            0 => text += &format!("{}.{}@{}.example.org", dice.word(), dice.word(), dice.word()),
            1 => {
                text += &format!(
                    "https://{}.example.org/{}?q={}#{}",
                    dice.word(),
                    dice.word(),
                    dice.word(),
                    dice.word()
                )
            }
            2 => {
                text += &format!(
                    "{}.{}.{}.{}",
                    100 + dice.roll(156),
                    dice.roll(156),
                    dice.roll(156),
                    100 + dice.roll(156)
                )
            }
            3 => {
                text += &format!(
                    "{:04}-{:02}-{:02}",
                    1970 + dice.roll(80),
                    1 + dice.roll(12),
                    1 + dice.roll(28)
                )
            }
            4 => text += ".\n",
            _ => text += dice.word(),
        }
        text.push(' ');
    }
    text
}
