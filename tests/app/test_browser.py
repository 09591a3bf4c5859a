"""The page of `votes app` as a person uses it, in a real browser where there is one."""

import hashlib
from pathlib import Path

import pytest
from app.test_app import page, place  # noqa: F401
from restore.clips import lossless, moving


@pytest.mark.parametrize(
    'size', [pytest.param((1200, 900), marks=pytest.mark.long), (390, 800)], ids=['desktop', 'phone']
)
def test_upload_wait_slide_download(page, place, browser, size):  # noqa: F811
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.expected_conditions import alert_is_present
    from selenium.webdriver.support.wait import WebDriverWait

    def find(css):
        return browser.find_element(By.CSS_SELECTOR, css)

    def wait(true, seconds=150):
        WebDriverWait(browser, seconds, 0.1, ignored_exceptions=()).until(lambda _: true())

    def there(css):
        return any(e.is_displayed() for e in browser.find_elements(By.CSS_SELECTOR, css))

    lossless(place / 'My film.mp4', moving(20), codec='libx264', chroma='420')
    browser.set_window_size(*size)
    address = f'http://{page.host}{page.base}'
    browser.get(address)
    find('#file').send_keys(str(place / 'in.mp4').replace('in.mp4', 'weights/w.pth'))
    wait(lambda: 'no video' in find('#problem').text)
    find('#file').send_keys(str(place / 'My film.mp4'))
    wait(lambda: there('article .start'))
    wait(lambda: find('#problem').text == '')
    assert '64x48' in find('.facts').text
    assert 'hardly compressed' in find('.facts').text
    assert 'weights/w.pth: VDSR, 2 times the size' in find('.weights').text
    find('.strength').send_keys(Keys.ARROW_LEFT)
    assert '95 %' in find('article').text
    find('.strength').send_keys(Keys.END)
    find('article .start').send_keys(Keys.ENTER)
    browser.get('about:blank')  # closes the page: the work goes on
    (key,) = (p.name for p in (place / 'page').iterdir())
    page.wait(key)
    browser.get(address)
    wait(lambda: there('.download'))
    assert len(browser.find_elements(By.CSS_SELECTOR, '.parts img')) == 3
    wait(lambda: browser.execute_script('return document.querySelector(".under").naturalWidth') == 128)

    stage = find('.stage')
    before = find('.front').value_of_css_property('clip-path'), find('.under').get_attribute('src')
    ActionChains(browser).move_to_element_with_offset(stage, stage.size['width'] // 4, 0).click().perform()
    assert find('.front').value_of_css_property('clip-path') != before[0]
    find('.frame').send_keys(Keys.END)
    wait(lambda: find('.under').get_attribute('src').endswith('/output/19.png'))
    assert find('.over').get_attribute('src').endswith('/input/19.png')
    assert 'frame 19, 0.76 s' in find('.about').text
    find('.parts button:nth-child(2)').click()
    wait(lambda: find('.under').get_attribute('src').endswith('/output/8.png'))
    assert browser.execute_script('return document.documentElement.scrollWidth <= window.innerWidth'), 'no sideways'

    find('.download').click()
    done = place / 'downloads' / 'My film_restored.mp4'
    wait(done.is_file)
    kept = place / 'page' / key / 'result.mp4'
    assert hashlib.sha256(done.read_bytes()).digest() == hashlib.sha256(kept.read_bytes()).digest()
    browser.save_screenshot(str(place / 'page.png'))

    find('article .head button').click()
    WebDriverWait(browser, 150).until(alert_is_present()).accept()
    wait(lambda: not browser.find_elements(By.CSS_SELECTOR, 'article'))
    assert list(Path('page').iterdir()) == []
    wrong = [e for e in browser.get_log('browser') if e['level'] == 'SEVERE' and ' 422 ' not in e['message']]
    assert wrong == []
