//! docker-compose.yml keeps its promises: pinned images, loopback ports, a health check and a volume each.

use std::path::Path;

fn services() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml");
    let text = std::fs::read_to_string(path).unwrap();
    let services = text
        .split("\nservices:\n")
        .nth(1)
        .unwrap()
        .split("\nvolumes:\n")
        .next()
        .unwrap();
    services.split("\n\n").map(str::to_owned).collect()
}

#[test]
fn each_service_is_pinned_private_and_checked() {
    let services = services();
    assert_eq!(services.len(), 3);
    for service in services {
        let image = service
            .lines()
            .find_map(|line| line.trim().strip_prefix("image: "))
            .unwrap();
        let tag = image.split_once(':').unwrap().1;
        assert!(
            tag.split('.').count() >= 2 && tag.starts_with(|c: char| c.is_ascii_digit()),
            "{image} is not pinned"
        );
        assert!(
            service.contains("healthcheck:") && service.contains("-data:/"),
            "{service}"
        );
        let ports: Vec<&str> = service
            .lines()
            .filter(|line| line.trim().starts_with("- \"") && line.contains("_PORT"))
            .collect();
        assert!(
            !ports.is_empty() && ports.iter().all(|line| line.contains("\"127.0.0.1:${PP_")),
            "{service}"
        );
    }
}

#[test]
fn no_password_stands_in_it() {
    for service in services() {
        assert!(service.contains("_PASSWORD:?set it in .env"), "{service}");
    }
}
