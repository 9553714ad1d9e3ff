"""The subject of a landscape, and the motifs found in its prompt."""

import hashlib
import random
import re

import msgspec

WORDS = {
    "night": "night midnight stars starry 夜 晚 星",
    "moon": "moon moonlight 月",
    "sun": "sun sunny sunlight 日 阳 晴",
    "dusk": "sunset dusk evening twilight 黄昏 夕 暮 霞",
    "dawn": "dawn sunrise morning 晨 晓 朝 曙",
    "snow": "snow snowy winter ice frost 雪 冬 冰 寒",
    "autumn": "autumn fall maple maples 秋 枫",
    "spring": "spring blossom blossoms peach plum cherry flower flowers garden 春 花 桃 梅 樱",
    "bamboo": "bamboo panda 竹",
    "pine": "pine pines forest forests tree trees wood woods jungle 松 林 树 森",
    "sea": "sea ocean waves beach 海 浪",
    "water": "lake river stream waterfall water pond 江 河 湖 水 溪 瀑",
    "mountain": "mountain mountains hill hills peak peaks cliff valley 山 峰 岭 崖 谷",
    "boat": "boat boats ship sail fisherman fishing 舟 船 帆 渔",
    "birds": "bird birds crane cranes goose geese 鸟 雁 鹤 燕",
    "pagoda": "temple pagoda tower house palace village 塔 寺 楼 亭 宫 村",
    "rain": "rain rainy storm 雨",
    "mist": "mist misty fog cloud clouds cloudy 雾 云 烟 霭",
}


class Subject(msgspec.Struct, frozen=True):
    """Everything that a picture depends on, except its size."""

    prompt: str
    seed: int
    steps: int
    sampler: str

    def variant(self, number: int) -> "Subject":
        """The picture of that number in a batch."""
        return msgspec.structs.replace(self, seed=(self.seed + number) % 2**64)

    def dice(self, topic: str) -> random.Random:
        """A random generator for a part of the picture, the same for the same subject."""
        digest = hashlib.sha256(msgspec.json.encode([topic, self])).digest()
        return random.Random(digest)  # noqa: S311 - it paints, it keeps no secrets

    def tree_side(self) -> int:
        """The side of the foreground tree: 1 for the left, -1 for the right."""
        return self.dice("side").choice([-1, 1])

    def motifs(self) -> set[str]:
        """The motifs named in the prompt; Chinese words anywhere, others as whole words."""
        text = self.prompt.lower()
        latin = set(re.findall(r"[a-z]+", text))
        return {
            motif
            for motif, words in WORDS.items()
            if any(_occurs(word, text, latin) for word in words.split())
        }


def _occurs(word: str, text: str, latin: set[str]) -> bool:
    return word in latin if word.isascii() else word in text
