"""The page of a run, in a real browser where there is one."""

import base64
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes import checkpoint
from votes.archs import build_network
from votes.checkpoint import read_record, write_record
from votes.cli import main
from votes.options import load_options
from votes.reports import frames, page, pictures
from votes.reports.pictures import Pictures
from votes.reports.sheet import panels


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


def shown_by(path):
    """What the script of a page reads."""
    return json.loads(re.search(r'id="frames">(.*?)</script>', Path(path).read_text(), re.S)[1])


def test_one_file_that_needs_nothing_else(evaluated):
    assert main(['report', str(evaluated)]) == 0
    html = (evaluated / 'report.html').read_text()
    assert not re.search(r'(src|href)="(?!data:)', html), 'nothing is loaded from elsewhere'
    assert 'http' not in html.replace('http://www.w3.org', '')
    shown = shown_by(evaluated / 'report.html')
    (test_set,) = shown['sets']
    assert [(clip['name'], len(clip['frames'])) for clip in test_set['clips']] == [('000', 6), ('001', 8), ('002', 7)]
    assert list(test_set['clips'][0]['frames'][0]['pictures']) == ['input', 'output', 'GT', 'DFM', 'error x 8']
    assert len(shown['addresses']) == 21 * 5
    assert all(address.startswith('data:image/jpeg;base64,') for address in shown['addresses'])
    results = json.loads((evaluated / 'results.json').read_text())
    (values,) = results['results'].values()
    gains = sorted(f['restored']['psnr'] - f['bicubic']['psnr'] for f in values['frames'])[:5]
    told = [float(worst['text'].split('gain ')[1]) for worst in test_set['worst']]
    assert told == pytest.approx(gains, abs=0.006)
    for words in ('aggregation', results['weights']['sha256'], 'torch', 'commit'):
        assert words in html


def test_many_pictures_lie_beside_the_page(evaluated, monkeypatch, capsys):
    monkeypatch.setattr(pictures, 'INSIDE', 20_000)
    assert main(['report', str(evaluated), '-o', 'a page.html', '--lossless']) == 0
    assert 'pictures in a page_files' in capsys.readouterr().out
    addresses = shown_by('a page.html')['addresses']
    assert addresses[7] == 'a%20page_files/000007.png'
    assert len(list(Path('a page_files').iterdir())) == len(addresses) == 105
    assert Path('a page.html').stat().st_size < 80_000
    for name in ('000', '002'):
        saved = cv2.imread(str(next((evaluated / 'visualization').glob(f'*/{name}/00000002.png'))))
        (clip,) = (c for c in shown_by('a page.html')['sets'][0]['clips'] if c['name'] == name)
        kept = cv2.imread(f'a page_files/{clip["frames"][2]["pictures"]["output"]:06d}.png')
        assert np.array_equal(saved, kept), 'to the bit'
    assert main(['report', str(evaluated), '-o', 'a page.html', '--every', '50']) == 0
    shown = shown_by('a page.html')
    indices = [(c['name'], f['index']) for c in shown['sets'][0]['clips'] for f in c['frames']]
    assert 5 <= len(indices) <= 8, 'the first of each clip, and the worst'
    Path('a page_files').mkdir(exist_ok=True)
    Path('a page_files/mine.txt').write_text('mine')
    assert main(['report', str(evaluated), '-o', 'a page.html']) == 2
    assert not list(Path('.').glob('.a page*'))
    assert Path('a page_files/mine.txt').read_text() == 'mine'


def test_several_networks_in_one_slider(evaluated, capsys):
    shutil.copytree(evaluated, 'results/other')
    content = read_record('results/other/results.json')
    content['name'] = 'input'
    write_record('results/other/results.json', content)
    assert main(['report', str(evaluated), 'results/other']) == 2, 'needs a name'
    assert main(['report', str(evaluated), 'results/other', '-o', 'both.html']) == 0
    (test_set,) = shown_by('both.html')['sets']
    frame = test_set['clips'][0]['frames'][0]
    assert list(frame['pictures'])[:4] == ['input', 'tiny', 'output of input', 'GT']
    assert list(frame['values']) == ['tiny', 'output of input']
    assert {worst['network'] for worst in test_set['worst']} == {'tiny', 'output of input'}
    content['protocol']['data'] = {name: {'sha256': 'others'} for name in content['protocol']['data']}
    write_record('results/other/results.json', content)
    capsys.readouterr()
    assert main(['report', str(evaluated), 'results/other', '-o', 'both.html']) == 2
    assert 'measured on other pictures' in capsys.readouterr().err


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
    shown = shown_by('experiments/tiny/report.html')
    (clip,) = shown['sets'][0]['clips']
    assert list(clip['frames'][0]['pictures']) == ['iteration 4']
    preview = base64.b64encode(Path('experiments/tiny/previews/00000004.png').read_bytes()).decode()
    assert shown['addresses'] == [f'data:image/png;base64,{preview}']
    assert 'restored_psnr' in html


HOSTILE = ['<!--<script>"</script>', '__proto__', '10', '</script><img src=x onerror=alert(1)>', "'; {{ 7 * 7 }} ]]>"]


def hostile_page(path, name=HOSTILE[0]):
    """A page of clips with bad names, whose second frames equal their originals."""
    grey = np.full((16, 16, 3), 90, np.uint8)
    kept = Pictures(path)
    clips = {}
    for clip in [name, *HOSTILE]:
        clips[clip] = [
            {
                'index': i,
                'values': {name: {'psnr': p}},
                'pictures': {k: kept.add(v) for k, v in panels(grey, {name: grey + i}, grey, {}).items()},
            }
            for i, p in enumerate((30.0, math.inf))
        ]
    worst = [{'clip': clip, 'place': 1, 'network': name, 'text': f'{clip}, frame 1'} for clip in HOSTILE]
    shown = frames.TestSet(name, clips, worst, metric='psnr', unit='psnr', right=name)
    page.write_page(path, [shown], {'title': name, 'tables': [name]}, kept)
    return name


def test_a_clip_named_as_markup(tmp_path):
    name = hostile_page(tmp_path / 'p.html')
    html = (tmp_path / 'p.html').read_text()
    data = html.split('id="frames">')[1].split('</script>')[0]
    assert '<' not in data
    frames = json.loads(data, parse_constant=pytest.fail)['sets'][0]['clips'][0]['frames']
    assert [frame['values'][name]['psnr'] for frame in frames] == [30, 'inf']
    assert html.count('<script') == html.count('</script>') == 2
    assert '<h2>&lt;!--&lt;script&gt;&#34;&lt;/script&gt;</h2>' in html


def wait_for(browser, true):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 20, 0.05).until(lambda _: true())


def test_keys_and_a_clip_named_as_markup_in_a_browser(browser, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

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
    assert [option.text for option in Select(find('clip')).options] == HOSTILE
    for name in HOSTILE:
        Select(find('clip')).select_by_visible_text(name)
        assert 'frame 0' in find('about').text
        wait_for(browser, lambda: browser.execute_script('return document.querySelector(".under").naturalWidth') == 16)
    worst = browser.find_elements(By.CSS_SELECTOR, '.worst button')
    assert [button.text for button in worst] == [f'{name}, frame 1' for name in HOSTILE]
    worst[1].click()
    assert (Select(find('clip')).first_selected_option.text, find('frame').get_attribute('value')) == ('__proto__', '1')
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []


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
        return find('front').value_of_css_property('clip-path')

    wait_for(
        browser, lambda: browser.execute_script('return document.querySelector(".viewer .under").naturalWidth') > 0
    )
    assert browser.execute_script('return document.documentElement.scrollWidth <= window.innerWidth'), 'no sideways'
    before = find('under').get_attribute('src'), clip_path()

    stage = find('stage')
    ActionChains(browser).move_to_element_with_offset(stage, stage.size['width'] // 4, 0).click().perform()
    assert clip_path() != before[1], 'a click moves the divider'
    stage.send_keys(Keys.ARROW_LEFT)
    moved = clip_path()
    stage.send_keys(Keys.ARROW_LEFT)
    assert clip_path() != moved, 'so does the keyboard'

    def source():
        return find('under').get_attribute('src')

    find('frame').send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, lambda: source() != before[0])
    assert 'frame 1' in find('about').text
    stage.send_keys(Keys.ARROW_DOWN)
    wait_for(browser, lambda: source() == before[0])

    curve = find('curve')
    ActionChains(browser).move_to_element_with_offset(curve, curve.size['width'] // 2 - 2, 0).click().perform()
    assert 'frame 5' in find('about').text, 'the end of the curve is the last frame'
    assert float(curve.find_element(By.CSS_SELECTOR, '.cursor').get_attribute('x1')) == 1000

    def width():  # of a pixel of the picture on the screen
        script = 'const i = document.querySelector(".viewer .under"); return i.getBoundingClientRect().width'
        return browser.execute_script(f'{script} / i.naturalWidth')

    fits = width()
    stage.send_keys('+')
    zoomed = width()
    assert zoomed > fits
    assert zoomed == pytest.approx(round(zoomed)), 'whole pixels'
    stage.send_keys('0')
    assert width() == pytest.approx(fits)

    for side, name in (('right', 'DFM'), ('left', 'GT')):
        Select(find(side)).select_by_visible_text(name)
    Select(find('clip')).select_by_visible_text('001')
    assert (find('l').text, find('r').text) == ('GT', 'DFM')
    assert 'frame 0' in find('about').text
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
    browser.save_screenshot(str(tmp_path / 'page.png'))
