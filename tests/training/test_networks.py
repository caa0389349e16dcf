from __future__ import annotations

import pytest
import torch
from torch import nn
from training.networks.discriminator import PatchDiscriminator

from training.config import Config
from training.cost import cost, cost_of
from training.networks.attention import ChannelSpatialAttention, GlobalAttention
from training.networks.coarse import CoarseGenerator
from training.networks.dense import DenseResidualBlock, DenseResidualSkip
from training.networks.edgeconnect import MACS, PARAMETERS, EdgeConnect
from training.networks.fusion import BidirectionalGatedFusion
from training.networks.layers import ACTIVATION_BOUND, BoundedReLU
from training.networks.prefill import pull_push
from training.networks.repair import RepairGenerator
from training.networks.stages import EdgeStage, RepairStage


@pytest.fixture
def stages(tiny: Config) -> tuple[EdgeStage, RepairStage]:
    torch.manual_seed(0)
    edge, repair = tiny.build("edge"), tiny.build("repair")
    for parameter in repair.parameters():
        parameter.data.mul_(1.5)  # so that what it paints is far from the first guess
    return EdgeStage(edge).eval(), RepairStage(repair).eval()


def _inputs(ratio: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=generator)
    mask = (torch.rand(2, 256, 256, generator=generator) < ratio).to(torch.uint8) * 255
    edges = (torch.rand(2, 256, 256, generator=generator) < 0.1).to(torch.uint8) * 255
    return image, mask, edges


def test_budgets() -> None:
    parameters, macs = (
        sum(each) for each in zip(*(cost(stage, Config()) for stage in ("edge", "repair")), strict=True)
    )
    assert 1_000_000 < parameters <= 4_000_000
    assert 1_000_000_000 < macs <= 4_000_000_000


def test_the_peer_costs_what_was_published() -> None:
    parameters, macs = cost_of(EdgeConnect())
    assert parameters == pytest.approx(PARAMETERS, rel=0.005)
    assert macs == pytest.approx(MACS, rel=0.005)


def test_the_peer_keeps_known_pixels() -> None:
    torch.manual_seed(0)
    image, mask, edges = (each[:1, :64, :64] for each in _inputs(0.3))
    with torch.inference_mode():
        restored, completed = EdgeConnect()(image, mask, edges)
    assert restored.shape == image.shape
    assert completed.shape == mask.shape
    known = mask == 0
    assert torch.equal(restored[known], image[known])
    assert not torch.equal(restored, image)


@pytest.mark.parametrize("stage", ["edge", "repair"])
def test_safe_in_half_precision_by_construction(stage: str) -> None:
    network = Config().build(stage)
    kinds = {type(module) for module in network.modules()}
    assert not [kind for kind in kinds if "Norm" in kind.__name__]
    assert BoundedReLU in kinds
    assert not kinds & {nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU}


def test_bounded_relu_is_bounded() -> None:
    x = torch.tensor([-1e9, -1.0, 0.5, 1e9])
    assert BoundedReLU()(x).tolist() == [0.0, 0.0, 0.5, ACTIVATION_BOUND]


def test_attention_begins_as_the_identity_and_then_acts() -> None:
    torch.manual_seed(0)
    module, x = ChannelSpatialAttention(16), torch.rand(2, 16, 8, 8)
    assert torch.equal(module(x), x)
    nn.init.ones_(module.scale)
    channel = module.channel(x)
    ratio = (channel / x).amax(dim=(2, 3)) - (channel / x).amin(dim=(2, 3))
    assert ratio.max() < 1e-5, "one gate a channel"
    spatial = module.spatial(x) / x
    assert (spatial.amax(dim=1) - spatial.amin(dim=1)).max() < 1e-5, "one gate a position"
    assert not torch.equal(module(x), x)


def test_fusion_gates_flow_both_ways() -> None:
    torch.manual_seed(0)
    module = BidirectionalGatedFusion(8)
    texture, structure = torch.rand(1, 8, 4, 4), torch.rand(1, 8, 4, 4)
    both = torch.cat((texture, structure), 1)
    nn.init.constant_(module.a, 0.5)
    nn.init.constant_(module.b, 0.25)
    fused = texture + 0.5 * torch.sigmoid(module.structure_gate[0](both)) * structure
    fused_structure = structure + 0.25 * torch.sigmoid(module.texture_gate[0](both)) * texture
    expected = module.join(torch.cat((fused, fused_structure), 1))
    torch.testing.assert_close(module(texture, structure), expected)


def test_dense_block_layers_see_all_before_them() -> None:
    block = DenseResidualBlock(8, 4, (1, 2, 1))
    assert [layer[0].in_channels for layer in block.layers] == [8, 12]
    assert block.last.in_channels == 16
    nn.init.zeros_(block.last.weight)
    x = torch.rand(1, 8, 16, 16)
    assert torch.equal(block(x), x)


def test_global_attention_begins_as_the_identity_and_then_reaches_everywhere() -> None:
    torch.manual_seed(0)
    module, x = GlobalAttention(16, 8), torch.rand(1, 16, 8, 8)
    assert torch.equal(module(x), x)
    nn.init.normal_(module.project.weight)
    other = x.clone()
    other[..., 0, 0] += 1.0
    assert not torch.equal(module(x)[..., 7, 7], module(other)[..., 7, 7])


def test_passes_at_half_the_size_begin_as_nothing_and_then_reach_further() -> None:
    torch.manual_seed(0)
    without = RepairGenerator(16, 16, 8)
    module = RepairGenerator(16, 16, 8, passes16=2)
    assert set(module.load_state_dict(without.state_dict(), strict=False).missing_keys) == {"shift16", "scale16"}
    image, edges, hole = torch.rand(1, 3, 256, 256), torch.rand(1, 1, 256, 256), torch.ones(1, 1, 256, 256)
    plain = without(image, edges, hole)
    assert torch.equal(module(image, edges, hole), plain)
    nn.init.ones_(module.scale16)
    seen = module(image, edges, hole)
    assert not torch.equal(seen, plain)
    image[..., :8, :8] += 1.0
    moved = (without(image, edges, hole) != plain)[0, 0].nonzero().amax()
    other = module(image, edges, hole)
    assert (other != seen)[0, 0].nonzero().amax() > moved + 32
    nn.init.ones_(module.shift16)
    assert not torch.equal(module(image, edges, hole), other)
    for passes, blocks in ((-1, 1), (2, 0)):
        with pytest.raises(ValueError, match="passes16"):
            RepairGenerator(16, 16, 8, blocks, passes)


class TestCoarse:
    def test_it_begins_without_structure_and_can_listen_to_it(self) -> None:
        torch.manual_seed(0)
        network = CoarseGenerator(16, 32, (1, 1), global_blocks=1, structure=8)
        image, hole = torch.rand(2, 3, 256, 256), torch.ones(2, 1, 256, 256)
        structure = torch.rand(2, 8, 32, 32)
        features, residual = network(image, hole)
        assert features.shape == (2, 16, 32, 32)
        assert residual.shape == image.shape
        assert torch.equal(network(image, hole, structure)[1], residual)
        nn.init.normal_(network.listen.weight)
        assert not torch.equal(network(image, hole, structure)[1], residual)

    def test_small_pictures_show_it_the_same(self) -> None:
        torch.manual_seed(0)
        network = CoarseGenerator(16, 32, (1, 1), global_blocks=1)
        image, hole = torch.rand(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
        large = [nn.functional.interpolate(each, scale_factor=2.0) for each in (image, hole)]
        torch.testing.assert_close(network(image, hole)[0], network(*large)[0])

    def test_the_rest_sees_its_guess_and_its_features(self, tiny: Config) -> None:
        torch.manual_seed(0)
        network = tiny.build("repair")
        image, edges, hole = torch.rand(1, 3, 256, 256), torch.zeros(1, 1, 256, 256), torch.ones(1, 1, 256, 256)
        _, coarse = network.coarse(
            image, hole, network.structure_down(network.structure_stem(torch.cat((edges, hole), 1)))
        )
        before = network(image, edges, hole)
        assert not torch.equal(before, coarse), "the head paints on it"
        nn.init.normal_(network.from_coarse.weight)
        assert not torch.equal(network(image, edges, hole), before)
        network.coarse = None
        alone = network(image + coarse, edges, hole)
        torch.testing.assert_close(before, coarse + alone)


def test_dense_skip_carries_both_of_its_inputs() -> None:
    torch.manual_seed(0)
    skip, a, b = DenseResidualSkip(8, 4), torch.rand(1, 8, 8, 8), torch.rand(1, 8, 8, 8)
    assert not torch.equal(skip(a, b), skip(a, torch.zeros_like(b)))
    assert not torch.equal(skip(a, b), skip(torch.zeros_like(a), b))


def test_discriminator_judges_patches() -> None:
    verdict, features = PatchDiscriminator(4, 8)(torch.rand(2, 4, 256, 256))
    assert verdict.shape == (2, 1, 32, 32)
    assert len(features) == 3


class TestPullPush:
    def test_known_pixels_stay_and_hidden_ones_do_not_count(self) -> None:
        torch.manual_seed(0)
        image, hole = torch.rand(2, 3, 256, 256), (torch.rand(2, 1, 256, 256) < 0.5).float()
        filled = pull_push(image, hole)
        assert torch.equal(filled * (1 - hole), image * (1 - hole))
        assert torch.equal(filled, pull_push(torch.where(hole > 0.5, 9.0, image), hole))

    def test_a_constant_is_continued(self) -> None:
        hole = torch.zeros(1, 1, 256, 256)
        hole[..., 30:200, 40:220] = 1
        filled = pull_push(torch.full((1, 3, 256, 256), 0.37), hole)
        torch.testing.assert_close(filled, torch.full_like(filled, 0.37))

    def test_a_ramp_is_bridged(self) -> None:
        ramp = torch.linspace(-1, 1, 256).expand(1, 1, 256, 256)
        hole = torch.zeros(1, 1, 256, 256)
        hole[..., 120:136] = 1
        assert (pull_push(ramp, hole) - ramp).abs().max() < 0.1

    def test_nothing_known_is_zero(self) -> None:
        assert pull_push(torch.rand(1, 3, 256, 256), torch.ones(1, 1, 256, 256)).abs().max() == 0

    def test_half_precision(self) -> None:
        image, hole = torch.rand(1, 3, 256, 256), (torch.rand(1, 1, 256, 256) < 0.9).float()
        exact, half = pull_push(image, hole), pull_push(image.half(), hole.half()).float()
        assert (exact - half).abs().max() < 4e-3


class TestStages:
    @pytest.mark.parametrize("ratio", [0.0, 0.02, 0.5, 1.0])
    def test_contract(self, stages: tuple[EdgeStage, RepairStage], ratio: float) -> None:
        image, mask, edges = _inputs(ratio)
        with torch.inference_mode():
            completed = stages[0](image, mask, edges)
            restored = stages[1](image, mask, completed)
        assert completed.dtype == restored.dtype == torch.uint8
        assert completed.shape == mask.shape
        assert restored.shape == image.shape
        known = mask == 0
        assert torch.equal(restored[known], image[known])
        assert torch.equal(completed[known], edges[known])

    def test_what_stands_in_the_hole_does_not_count(self, stages: tuple[EdgeStage, RepairStage]) -> None:
        image, mask, edges = _inputs(0.3)
        other_image = torch.where(mask[..., None] > 127, 255 - image, image)
        other_edges = torch.where(mask > 127, 255 - edges, edges)
        with torch.inference_mode():
            completed, same = stages[0](image, mask, edges), stages[0](other_image, mask, other_edges)
            assert torch.equal(completed, same)
            assert torch.equal(
                stages[1](image, mask, completed)[mask > 127], stages[1](other_image, mask, same)[mask > 127]
            )

    def test_the_hole_is_painted_by_the_network(self, stages: tuple[EdgeStage, RepairStage]) -> None:
        image, mask, edges = _inputs(0.3)
        with torch.inference_mode():
            plain = stages[1](image, mask, edges)
            stages[1].generator.head[0].weight.zero_()
            stages[1].generator.head[0].bias.zero_()
            assert not torch.equal(stages[1](image, mask, edges), plain)

    def test_the_mask_is_cut_above_127(self, stages: tuple[EdgeStage, RepairStage]) -> None:
        image, mask, edges = _inputs(0.3)
        grey = torch.where(mask > 127, 128, 127).to(torch.uint8)
        with torch.inference_mode():
            assert torch.equal(stages[1](image, mask, edges), stages[1](image, grey, edges))

    def test_half_precision_agrees(self, stages: tuple[EdgeStage, RepairStage]) -> None:
        image, mask, edges = _inputs(0.3)
        with torch.inference_mode():
            exact = stages[1](image, mask, edges)
            half = stages[1].half()(image, mask, edges)
        assert (exact.int() - half.int()).abs().max() <= 3
        assert torch.equal(half[mask == 0], image[mask == 0])
