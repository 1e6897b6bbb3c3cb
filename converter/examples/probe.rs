fn main() {
    for p in std::env::args().skip(1) {
        match unbraid_converter::import::load(std::path::Path::new(&p), &Default::default()) {
            Ok(g) => println!("OK {p} {} nodes {} values", g.nodes.len(), g.values.len()),
            Err(e) => println!("ERR {e}"),
        }
    }
}
