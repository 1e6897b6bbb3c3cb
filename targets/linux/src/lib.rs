//! What a Linux process adds to the runtime: a thread pool and mapped files.
