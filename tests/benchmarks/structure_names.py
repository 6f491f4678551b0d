"""Networks of the structure table: torchvision's classifiers, and of every family of timm.

Of each of timm's modules the smallest networks that differ in kind (kind of attention, norm, stem,
block), so that all of its layers' code is met and two slow cores get through.
"""

TIMM = """
test_resnet test_vit test_efficientnet test_convnext test_mambaout test_nfnet test_vit_relpos
beit_base_patch16_224 beitv2_base_patch16_224
botnet26t_256 halonet26t lambda_resnet26t eca_halonext26ts eca_botnext26ts_256
mobileone_s1 gernet_s repvgg_a0 resnet32ts gcresnet33ts seresnet33ts eca_resnet33ts resnext26ts
cait_xxs24_224 coat_tiny coat_lite_tiny convit_tiny convmixer_768_32
convnext_atto convnext_atto_ols convnext_atto_rms convnextv2_atto
cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_s cspresnet50 cspresnext50 darknet17
cspnext_tiny davit_tiny deit_tiny_patch16_224 deit_tiny_distilled_patch16_224
deit3_small_patch16_224
densenet121 dla34 dla46x_c dla60_res2net dpn48b dpn68b edgenext_xx_small edgenext_small_rw
efficientformer_l1 efficientformerv2_s0
tinynet_e efficientnet_b0 efficientnetv2_rw_t mixnet_s mnasnet_050 mobilenetv2_050 fbnetc_100
efficientnet_es efficientnet_cc_b0_4e mobilenetv4_conv_small mobilenet_edgetpu_v2_xs
mobilenetv1_100 tf_efficientnet_lite0 spnasnet_100
efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 vit_tiny_patch16_dinov3_qkvb
fasternet_t0 fastvit_t8 fastvit_sa12 fastvit_mci0 focalnet_tiny_srf gcvit_xxtiny
ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hgnetv2_b0 hgnet_tiny
hiera_tiny_224 sam2_hiera_tiny hrnet_w18_small iformer_t
inception_next_atto inception_next_tiny inception_resnet_v2 inception_v3 inception_v4
lcnetv2_small lcnet_050 levit_128 levit_conv_128 lowformer_b0 mambaout_femto
maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256 coatnet_pico_rw_224 coatnet_rmlp_nano_rw_224
coatnext_nano_rw_224 maxxvit_rmlp_nano_rw_256 maxvit_tiny_tf_224
poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18
gmlp_ti16_224 mixer_s32_224 resmlp_12_224 mobilenetv3_small_050 mobilenetv3_large_100 fbnetv3_b
mobilevit_xxs mobilevitv2_050 mvitv2_tiny nasnetalarge nest_tiny nextvit_small
nf_regnet_b0 nf_resnet26 nf_ecaresnet26 eca_nfnet_l0 dm_nfnet_f0
pit_ti_224 pit_ti_distilled_224 pnasnet5large pvt_v2_b0 rdnet_tiny
regnetx_002 regnety_002 regnetz_b16 regnetz_005 regnetv_040
repghostnet_050 repvit_m0_9 res2net50_26w_4s res2next50 resnest14d
resnet18 resnet18d resnet26t resnetblur18 seresnet18 ecaresnet26t resnext50_32x4d resnetaa34d
resnetrs50 seresnext26d_32x4d gcresnet50t
resnetv2_18 resnetv2_50d_evos resnetv2_50d_gn resnetv2_50x1_bit rexnet_100 rexnetr_200
selecsls42 legacy_seresnet18 legacy_seresnext26_32x4d sequencer2d_s shvit_s1 skresnet18
starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swin_s3_tiny_224
swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m
twins_svt_small twins_pcpvt_small vgg11_bn visformer_tiny
vit_tiny_patch16_224 vit_small_patch16_rope_224 vit_xsmall_patch16_clip_224 vit_tiny_r_s16_p8_224
vit_srelpos_small_patch16_224 vit_relpos_small_patch16_224 samvit_base_patch16_224 vitamin_small_224
volo_d1_224 ese_vovnet19b_slim_dw vovnet39a eca_vovnet39b legacy_xception xception41 xception41p
xcit_nano_12_p16_224 qwen3_vit_88m naflexvit_base_patch16_siglip
""".split()  # noqa: SIM905


def names_of(zoo: str) -> list[str]:
    """Networks of a zoo ("timm" or "torchvision") as `zoo:name`, small ones first where known."""
    if zoo == "timm":
        return [f"timm:{name}" for name in TIMM]
    from torchvision import models

    def size(name: str) -> int:
        return int(next(iter(models.get_model_weights(name))).meta["num_params"])

    return [f"torchvision:{name}" for name in sorted(models.list_models(module=models), key=size)]
