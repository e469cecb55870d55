"""What the field has used since the paper, under names of its own; the networks are timm's.

Each is `timm:NETWORK.WEIGHTS` under a shorter name, at the size its weights were trained at. Any
other of timm's needs no entry. C-RADIO v2, InternViT-6B v2.5 and RADIO's earlier versions have no
network in timm without code of their publishers, and are not here.
"""

import dataclasses

from ablate.catalog import timm_encoders
from ablate.catalog.encoder_spec import EncoderSpec

NAMED = {
    "siglip2-b16": ("vit_base_patch16_siglip_512.v2_webli", "Tschannen et al. 2025"),
    "siglip2-l16": ("vit_large_patch16_siglip_512.v2_webli", "Tschannen et al. 2025"),
    "siglip2-so400m-14": ("vit_so400m_patch14_siglip_378.v2_webli", "Tschannen et al. 2025"),
    "siglip2-so400m-16": ("vit_so400m_patch16_siglip_512.v2_webli", "Tschannen et al. 2025"),
    "siglip2-g16": ("vit_giantopt_patch16_siglip_384.v2_webli", "Tschannen et al. 2025"),
    "dinov3-b16": ("vit_base_patch16_dinov3.lvd1689m", "Simeoni et al. 2025"),
    "dinov3-l16": ("vit_large_patch16_dinov3.lvd1689m", "Simeoni et al. 2025"),
    "dinov3-h16": ("vit_huge_plus_patch16_dinov3.lvd1689m", "Simeoni et al. 2025"),
    "dinov3-7b": ("vit_7b_patch16_dinov3.lvd1689m", "Simeoni et al. 2025"),
    "dinov3-convnext-l": ("convnext_large.dinov3_lvd1689m", "Simeoni et al. 2025"),
    "pe-core-l14": ("vit_pe_core_large_patch14_336.fb", "Bolya et al. 2025"),
    "pe-core-g14": ("vit_pe_core_gigantic_patch14_448.fb", "Bolya et al. 2025"),
    "pe-lang-l14": ("vit_pe_lang_large_patch14_448.fb", "Bolya et al. 2025"),
    "pe-lang-g14": ("vit_pe_lang_gigantic_patch14_448.fb", "Bolya et al. 2025"),
    "pe-spatial-g14": ("vit_pe_spatial_gigantic_patch14_448.fb", "Bolya et al. 2025"),
    "aimv2-l14": ("aimv2_large_patch14_448.apple_pt", "Fini et al. 2024"),
    "aimv2-1b": ("aimv2_1b_patch14_448.apple_pt", "Fini et al. 2024"),
    "aimv2-3b": ("aimv2_3b_patch14_448.apple_pt", "Fini et al. 2024"),
    "c-radio-v3-b16": ("vit_base_patch16_radio_v3.c_radio", "Heinrich et al. 2025"),
    "c-radio-v3-l16": ("vit_large_patch16_radio_v3.c_radio", "Heinrich et al. 2025"),
    "c-radio-v3-h16": ("vit_huge_patch16_radio_v3.c_radio", "Heinrich et al. 2025"),
    "c-radio-v3-g16": ("vit_giant_patch16_radio_v3.c_radio", "Heinrich et al. 2025"),
    "c-radio-v4-so400m": ("vit_so400m_patch16_radio_v4.c_radio", "NVIDIA 2026"),
    "c-radio-v4-h16": ("vit_huge_patch16_radio_v4.c_radio", "NVIDIA 2026"),
    "eva-clip-g14": ("eva_giant_patch14_clip_224.laion400m", "Sun et al. 2023"),
    "eva02-clip-l14": ("eva02_large_patch14_clip_336.merged2b", "Sun et al. 2023"),
    "eva02-clip-e14": ("eva02_enormous_patch14_clip_224.laion2b", "Sun et al. 2023"),
    "internvit-300m": ("vit_intern300m_patch14_448.ogvl_2pt5", "Chen et al. 2024"),
    "tipsv2-l14": ("vit_large_patch14_reg1_tipsv2.webli", "TIPSv2"),
    "tipsv2-so400m": ("vit_so400m_patch14_reg1_tipsv2.webli", "TIPSv2"),
    "tipsv2-g14": ("vit_giant_patch14_reg1_tipsv2.webli", "TIPSv2"),
    "florence2-davit-b": ("davit_base_fl.msft_florence2", "Xiao et al. 2023"),
    "florence2-davit-h": ("davit_huge_fl.msft_florence2", "Xiao et al. 2023"),
}
"""By name: timm's network with its weights, and who published them."""


def _spec(name: str, network: str, source: str) -> EncoderSpec:
    spec = timm_encoders.resolve(timm_encoders.PREFIX + network)
    return dataclasses.replace(spec, name=name, source=source)


SPECS = [_spec(name, *listed) for name, listed in NAMED.items()]
