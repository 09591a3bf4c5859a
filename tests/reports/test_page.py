"""The page of a run, in a real browser where there is one."""

import base64
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.options import load_options
from votes.reports import frames, page


@pytest.fixture
def evaluated(place):
    """results/tiny of a small VOTES with pictures; the data and the weights are still there."""
    options = place(
        datasets__train=None,
        datasets__val=None,
        datasets__test={'type': 'VideoUVSSMTestDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq'},
        train=None,
        path={'pretrain_network_g': 'w.pth'},
        val={'save_img': True},
        logger=None,
    )
    opt = load_options(options, 'test', check_paths=False)
    checkpoint.save({'params': build_network({'type': 'VOTES', **opt.network_g.args}).state_dict()}, 'w.pth')
    assert main(['test', '-opt', options]) == 0
    return Path('results/tiny')


def test_one_file_that_needs_nothing_else(evaluated):
    assert main(['report', str(evaluated)]) == 0
    html = (evaluated / 'report.html').read_text()
    assert not re.search(r'(src|href)="(?!data:)', html), 'nothing is loaded from elsewhere'
    assert 'http' not in html.replace('http://www.w3.org', '')
    shown = json.loads(re.search(r'id="frames">(.*?)</script>', html, re.S)[1])
    (clips,) = shown.values()
    assert list(clips) == ['000', '001', '002']
    assert list(clips['000'][0]['pictures']) == ['input', 'output', 'GT', 'DFM', 'error x 8']
    results = json.loads((evaluated / 'results.json').read_text())
    (values,) = results['results'].values()
    lowest = sorted(f['restored']['psnr'] for f in values['frames'])[:5]
    told = [float(v) for v in re.findall(r'frame \d+: ([\d.]+) dB', html)]
    assert told == pytest.approx(lowest, abs=0.006)
    for words in ('aggregation', results['weights']['sha256'], 'torch', 'commit'):
        assert words in html


def test_what_is_gone_is_told(evaluated, tmp_path):
    Path('w.pth').unlink()
    assert main(['report', str(evaluated), '-o', 'r.html']) == 0
    assert 'no degradation map: the weights are not there' in Path('r.html').read_text()
    shutil.rmtree('gt')
    assert main(['report', str(evaluated), '-o', 'r.html']) == 0
    assert 'the data is not there any more' in Path('r.html').read_text()
    assert main(['report', 'nowhere']) == 2
    assert main(['report', str(tmp_path / 'lq')]) == 2


def test_a_training_run(place):
    assert main(['train', '-opt', place()]) == 0
    assert main(['report', 'experiments/tiny']) == 0
    html = Path('experiments/tiny/report.html').read_text()
    assert '<svg' in html
    preview = base64.b64encode(Path('experiments/tiny/previews/00000004.png').read_bytes()).decode()
    assert f'<img src="data:image/png;base64,{preview}" alt="iteration 4">' in html
    assert 'restored_psnr' in html


def hostile_page(path, name='<!--<script>"</script>'):
    """A page of one clip with a bad name, whose second frame equals its original."""
    from votes.reports.frames import TestSet, panels

    grey = np.full((16, 16, 3), 90, np.uint8)
    rows = [
        {'clip': name, 'index': i, 'psnr': p, 'ssim': None, 'pictures': panels(grey, grey + i, grey, None)}
        for i, p in enumerate((30.0, math.inf))
    ]
    page.write_page(path, {'set': TestSet('set', {name: rows}, rows[:1])}, {'title': 'x', 'tables': []})
    return name


def test_a_clip_named_as_markup(tmp_path):
    name = hostile_page(tmp_path / 'p.html')
    html = (tmp_path / 'p.html').read_text()
    data = html.split('id="frames">')[1].split('</script>')[0]
    assert '<' not in data
    assert [frame['psnr'] for frame in json.loads(data, parse_constant=pytest.fail)['set'][name]] == [30, 'inf']
    assert html.count('<script') == html.count('</script>') == 2
    assert '<option value="&lt;!--&lt;script&gt;&#34;&lt;/script&gt;">' in html


def test_keys_and_a_clip_named_as_markup_in_a_browser(browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    hostile_page(tmp_path / 'p.html')
    browser.get((tmp_path / 'p.html').as_uri())

    def find(name):
        return browser.find_element(By.CSS_SELECTOR, f'.viewer .{name}')

    stage = find('stage')
    for key, part, value in ((Keys.HOME, 'split', '0'), (Keys.END, 'split', '100'), (Keys.PAGE_UP, 'frame', '1')):
        stage.send_keys(key)
        assert find(part).get_attribute('value') == value
    assert 'infinite dB' in find('about').text
    stage.send_keys(Keys.PAGE_DOWN)
    assert '30.00 dB' in find('about').text
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []


def test_pictures_are_cut_to_their_middle():
    large = np.zeros((700, 900, 3), np.uint8)
    large[350, 450] = 255
    cut = frames.middle(large)
    assert cut.shape == (512, 512, 3)
    assert cut[256, 256].tolist() == [255, 255, 255]
    assert page.QUALITY > 90


@pytest.mark.parametrize('size', [(1200, 900), (390, 800)], ids=['desktop', 'phone'])
def test_in_a_browser(evaluated, browser, size, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    assert main(['report', str(evaluated)]) == 0
    browser.set_window_size(*size)
    browser.get((evaluated / 'report.html').absolute().as_uri())

    def find(name):
        return browser.find_element(By.CSS_SELECTOR, f'.viewer .{name}')

    def clip_path():
        return find('over').value_of_css_property('clip-path')

    assert browser.execute_script('return document.querySelector(".viewer .under").naturalWidth') > 0
    assert browser.execute_script('return document.documentElement.scrollWidth <= window.innerWidth'), 'no sideways'
    before = find('under').get_attribute('src'), clip_path()

    stage = find('stage')
    ActionChains(browser).move_to_element_with_offset(stage, stage.size['width'] // 4, 0).click().perform()
    assert clip_path() != before[1], 'a click moves the divider'
    stage.send_keys(Keys.ARROW_LEFT)
    moved = clip_path()
    stage.send_keys(Keys.ARROW_LEFT)
    assert clip_path() != moved, 'so does the keyboard'

    find('frame').send_keys(Keys.ARROW_RIGHT)
    assert find('under').get_attribute('src') != before[0], 'the scrubber changes the picture'
    assert 'frame 1' in find('about').text
    stage.send_keys(Keys.ARROW_DOWN)
    assert find('under').get_attribute('src') == before[0]

    Select(find('right')).select_by_visible_text('DFM')
    assert find('under').get_attribute('src') != before[0]
    Select(find('left')).select_by_visible_text('GT')
    Select(find('clip')).select_by_visible_text('001')
    assert find('l').text == 'GT'
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
    browser.save_screenshot(str(tmp_path / 'page.png'))
