//! Plan → bytes of a `.strand` file.
