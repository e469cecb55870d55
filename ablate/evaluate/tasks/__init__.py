"""lmms-eval task files; `taskfiles.materialise` binds them to the data they ask about."""
