//! The scripts in a YAML file, each as a shell gets it: block scalars (`run: |`, and `- |` below `script:`).

/// All of them, in order. `key` is what stands before the bar: `run:` or `-`.
#[must_use]
pub fn scripts(yaml: &str, key: &str) -> Vec<String> {
    let (mut all, mut lines) = (Vec::new(), yaml.lines().peekable());
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_suffix('|') else { continue };
        let head = head.trim();
        if head.strip_prefix("- ").unwrap_or(head) != key && head != key {
            continue;
        }
        // The first line of a block says how far it is indented.
        let indent = lines.peek().map_or(0, |first| first.len() - first.trim_start().len());
        let mut script = String::new();
        while let Some(line) =
            lines.next_if(|line| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent)
        {
            script.push_str(line.get(indent..).unwrap_or_default());
            script.push('\n');
        }
        all.push(script.trim_end().to_owned() + "\n");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_as_a_shell_gets_it() {
        let yaml = "a:\n  - run: |\n      one\n        two\n\n      three\n  - name: x\nscript:\n  - |\n    four\nb: |\n  no\n";
        assert_eq!(scripts(yaml, "run:"), ["one\n  two\n\nthree\n"]);
        assert_eq!(scripts(yaml, "-"), ["four\n"]);
    }
}
