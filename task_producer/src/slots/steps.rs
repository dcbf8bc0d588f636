//! Refuses steps that never take place: `*/99` in the seconds ticks once a minute, which is hardly intended.

/// The fields of a pattern with seconds and year, each with its largest step.
const FIELDS: [(&str, u32); 6] = [
    ("seconds", 60),
    ("minutes", 60),
    ("hours", 24),
    ("days of the month", 31),
    ("months", 12),
    ("days of the week", 7),
];

/// Checks the steps of a pattern whose fields are separated by single blanks.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    let parts: Vec<&str> = pattern.split(' ').collect();
    let without_seconds = usize::from(parts.len() == 5);
    for (part, (name, largest)) in parts.iter().zip(&FIELDS[without_seconds..]) {
        let mut steps = part
            .split(',')
            .filter_map(|item| item.split_once('/')?.1.parse::<u32>().ok());
        if let Some(step) = steps.find(|step| step > largest) {
            return Err(format!("a step of {step} is larger than the {largest} {name}"));
        }
    }
    Ok(())
}
