//! What principals may do: grants by role and claim, row filters from templates, columns.
