"""Files that hold many pictures, read where they lie: nothing is unpacked."""
