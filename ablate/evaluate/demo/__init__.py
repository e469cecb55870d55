"""The page of `ablate demo`, apart: Streamlit lets a script import whatever lies beside it."""
