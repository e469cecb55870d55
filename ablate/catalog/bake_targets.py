"""What `ablate bake` can make, with the steps each was shipped after. Imports no torch."""

TARGETS = {
    "llama-micro": 9500,
    "clip-micro": 700,
    "convnext-micro": 800,
    "eva02-micro": 600,
    "pix2struct-micro": 1500,
    "sam-micro": 800,
    "dinov2-micro": 1200,
    "micro-ocr": 400,
    "micro-detector": 400,
}
